//! The settings of the agent: flags, environment variables and a file, under one schema. The command line is the schema;
//! what the file says takes the place of a default, so that it is read and judged as a flag is.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, error::ErrorKind,
    parser::ValueSource,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{self, Cli, Place, Supervised};

/// The option that names the file.
const CONFIG: &str = "config";
/// Options that are no settings.
const NO_SETTINGS: [&str; 3] = ["help", "version", CONFIG];

/// What the agent was started with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// Whether the file says something else by now, which counts from the next start on.
    pub changed: bool,
    /// All of them.
    pub settings: Vec<Setting>,
    /// What the file said.
    #[serde(skip)]
    pub text: String,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The flag without its dashes.
    pub key: String,
    /// Its value; several are separated by commas.
    pub value: Option<String>,
    /// Who said so.
    pub source: Source,
}

/// Where a value comes from. A flag counts more than a variable, that more than the file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The file.
    File,
    /// Nobody said anything else.
    Default,
}

/// What can be set.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The flag without its dashes; the key in the file.
    pub key: String,
    /// Whether the file may say it.
    pub in_file: bool,
    /// The variable.
    pub environment: Option<String>,
    /// The default.
    pub default: Option<String>,
    /// Whether it may be set several times; in the file it is a list.
    pub several: bool,
    /// What it is.
    pub about: String,
}

/// Reads a command line, and the file that it names.
///
/// # Errors
/// A usage error, with the file and the key where those are wrong.
pub fn read(args: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let first = command.try_get_matches_from_mut(args)?;
    let Some(run) = of_run(&first) else {
        return Cli::from_arg_matches(&first);
    };
    let mut settings = Settings {
        file: run.get_one::<PathBuf>(CONFIG).cloned(),
        ..Settings::default()
    };
    let mut said = BTreeMap::new();
    if let Some(file) = &settings.file {
        let wrong = |why: String| {
            let why = format!("configuration {}: {why}", file.display());
            Cli::command().error(ErrorKind::ValueValidation, why)
        };
        settings.text = fs::read_to_string(file)
            .map_err(|error| wrong(format!("{error}: put it there, or name another with --config")))?;
        said = entries(&settings.text, &options()).map_err(wrong)?;
    }
    let mut command = with_defaults(&said);
    let matches = command.try_get_matches_from_mut(args)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if let (Some(run), Some(args)) = (of_run(&matches), cli.run_args()) {
        settings.settings = options().iter().map(|arg| setting(arg, run, &said)).collect();
        one_source(&settings).map_err(|why| command.error(ErrorKind::ArgumentConflict, why))?;
        args.settings = settings;
    }
    Ok(cli)
}

impl Settings {
    /// The same, and whether the file changed meanwhile.
    #[must_use]
    pub fn now(&self) -> Self {
        let now = self.file.as_ref().map(fs::read_to_string);
        let changed = now.is_some_and(|now| now.is_ok_and(|text| text != self.text));
        Self {
            changed,
            ..self.clone()
        }
    }
}

/// What can be set.
#[must_use]
pub fn schema() -> Vec<Key> {
    let place = place();
    let key = |arg: &Arg| Key {
        in_file: !place.contains(&key(arg).to_owned()),
        key: key(arg).to_owned(),
        environment: arg.get_env().map(|name| name.display().to_string()),
        default: joined(
            arg.get_default_values()
                .iter()
                .map(|value| value.display().to_string()),
        ),
        several: several(arg),
        about: arg.get_help().map(ToString::to_string).unwrap_or_default(),
    };
    options().iter().map(key).collect()
}

/// The options of `run` that are settings.
fn options() -> Vec<Arg> {
    let command = Cli::command();
    let run = command.find_subcommand(Supervised::RUN).into_iter();
    let options = run.flat_map(Command::get_arguments).cloned();
    options.filter(|arg| !NO_SETTINGS.contains(&key(arg))).collect()
}

/// Keys of what `run`, `cleanup` and meshctl must agree on. The file is of `run` alone, so it can't say them.
fn place() -> Vec<String> {
    let place = Place::augment_args(Command::new(""));
    place.get_arguments().map(|arg| key(arg).to_owned()).collect()
}

fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_default()
}

fn several(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The options of `run`, also where a broker runs it.
fn of_run(matches: &ArgMatches) -> Option<&ArgMatches> {
    match matches.subcommand()? {
        (Supervised::RUN, run) => Some(run),
        (config::BROKER, broker) => of_run(broker),
        _ => None,
    }
}

type Entries = BTreeMap<String, Vec<String>>;

/// The command line, with what the file says as defaults.
fn with_defaults(said: &Entries) -> Command {
    let options = options();
    let in_run = |run: Command| {
        let known = options.iter().filter_map(|arg| Some((arg, said.get(key(arg))?)));
        known.fold(run, |run, (arg, values)| {
            let values = values.clone();
            run.mut_arg(arg.get_id(), |arg| arg.default_values(values))
        })
    };
    Cli::command()
        .mut_subcommand(Supervised::RUN, in_run)
        .mut_subcommand(config::BROKER, |broker| {
            broker.mut_subcommand(Supervised::RUN, in_run)
        })
}

/// What a file says: a mapping of keys to values, each judged as the flag's value would be.
fn entries(text: &str, options: &[Arg]) -> Result<Entries, String> {
    // In YAML 1.1 `off` is the same as `false`; here it is a word.
    let words = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let said: Result<Option<BTreeMap<String, Value>>, _> = serde_saphyr::from_str_with_options(text, words);
    let said = said.map_err(|error| format!("expected lines of KEY: VALUE: {error}"))?;
    let place = place();
    let mut entries = Entries::new();
    for (name, value) in said.unwrap_or_default() {
        let arg = options.iter().find(|arg| key(arg) == name);
        let arg =
            arg.ok_or_else(|| format!("there is no setting {name}: `meshctl config schema` lists them"))?;
        if place.contains(&name) {
            let variable = arg.get_env().unwrap_or_default().display();
            return Err(format!(
                "{name} can't be set in the file, which `mesh-agent cleanup` and meshctl do not read: say --{name} or \
                 {variable} to all three"
            ));
        }
        let values = values(arg, &value).and_then(|values| judge(arg, &values).map(|()| values));
        entries.insert(
            name.clone(),
            values.map_err(|why| format!("{name}: {why}; see `meshctl config schema`"))?,
        );
    }
    Ok(entries)
}

fn values(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(format!("{value} is no value")),
    };
    match value {
        Value::Array(all) if several(arg) => all.iter().map(scalar).collect(),
        Value::Array(_) => Err("one value is expected, not a list".to_owned()),
        Value::Bool(_) => Ok(vec![scalar(value)?]),
        _ if !arg.get_action().takes_values() => Err(format!("expected true or false, not {value}")),
        _ => Ok(vec![scalar(value)?]),
    }
}

fn judge(arg: &Arg, values: &[String]) -> Result<(), String> {
    if !arg.get_action().takes_values() {
        return Ok(());
    }
    let alone = || {
        let arg = Arg::new("value")
            .long(key(arg).to_owned())
            .action(arg.get_action().clone());
        Command::new("").no_binary_name(true).arg(arg)
    };
    let parser = arg.get_value_parser().clone();
    let mut command = alone().mut_arg("value", |arg| arg.value_parser(parser));
    let flags = values.iter().map(|value| format!("--{}={value}", key(arg)));
    command
        .try_get_matches_from_mut(flags)
        .map(drop)
        .map_err(|error| {
            // What follows is about the usage of a command that there is not.
            let text = error.to_string();
            let text = text.split("\n\nUsage:").next().unwrap_or_default();
            let text = text.split("\n\nFor more").next().unwrap_or_default();
            text.trim_start_matches("error: ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
}

fn setting(arg: &Arg, run: &ArgMatches, said: &Entries) -> Setting {
    let id = arg.get_id().as_str();
    let source = match run.value_source(id) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => Source::Environment,
        _ if said.contains_key(key(arg)) => Source::File,
        _ => Source::Default,
    };
    let value = if arg.get_action().takes_values() {
        let raw = run.get_raw(id).into_iter().flatten();
        joined(raw.map(|value| value.display().to_string()))
    } else {
        Some(run.get_flag(id).to_string())
    };
    Setting {
        key: key(arg).to_owned(),
        value,
        source,
    }
}

fn joined(values: impl Iterator<Item = String>) -> Option<String> {
    let values: Vec<String> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Objects come from one place. Of flags and variables clap makes sure, of the file it can't.
fn one_source(settings: &Settings) -> Result<(), String> {
    let set = |name: &str| {
        settings
            .settings
            .iter()
            .any(|setting| setting.key == name && setting.value.is_some())
    };
    let other = ["kubeconfig", "context"].into_iter().find(|name| set(name));
    match other {
        Some(other) if set("manifests") => Err(format!(
            "manifests and {other} both say where objects come from: leave one out (--config {})",
            settings.file.as_deref().unwrap_or(Path::new("")).display()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::config::RunArgs, *};

    fn run(file: &str, flags: &[&str]) -> Result<RunArgs, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, file).unwrap();
        let mut args = vec![
            "mesh-agent".into(),
            "run".into(),
            "--config".into(),
            path.into_os_string(),
        ];
        args.extend(flags.iter().map(OsString::from));
        let mut cli = read(&args).map_err(|error| error.to_string())?;
        Ok(cli.run_args().cloned().unwrap())
    }

    fn of<'a>(args: &'a RunArgs, key: &str) -> (Option<&'a str>, Source) {
        let all = &args.settings.settings;
        let setting = all.iter().find(|setting| setting.key == key).unwrap();
        (setting.value.as_deref(), setting.source)
    }

    #[test]
    fn a_flag_counts_more_than_the_file_and_that_more_than_the_default() {
        let file =
            "packets: tcx\nstart-jitter: 3\nmap-size: [PODS=16, SERVICES=32]\nwait-for-handover: true\n";
        let args = run(file, &["--packets", "off"]).unwrap();
        assert_eq!(args.packets, config::Packets::Off);
        assert_eq!(args.start_jitter.as_secs(), 3);
        assert_eq!(
            args.map_sizes,
            [("PODS".to_owned(), 16), ("SERVICES".to_owned(), 32)]
        );
        assert!(args.wait_for_handover);
        assert_eq!(of(&args, "packets"), (Some("off"), Source::Flag));
        assert_eq!(of(&args, "map-size"), (Some("PODS=16,SERVICES=32"), Source::File));
        assert_eq!(of(&args, "wait-for-handover"), (Some("true"), Source::File));
        assert_eq!(of(&args, "netns-dir"), (Some("/run/netns"), Source::Default));
        assert_eq!(of(&args, "cgroup"), (None, Source::Default));
    }

    #[test]
    fn off_is_a_word() {
        let args = run("packets: off\nnode-name: \"12\"\n", &[]).unwrap();
        assert_eq!(args.packets, config::Packets::Off);
        assert_eq!(of(&args, "node-name"), (Some("12"), Source::File));
    }

    #[test]
    fn a_broker_reads_it_as_its_agent_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, "log-format: json\n").unwrap();
        let line = format!("mesh-agent broker run --config {}", path.display());
        let args: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let mut cli = read(&args).unwrap();
        assert_eq!(
            of(cli.run_args().unwrap(), "log-format"),
            (Some("json"), Source::File)
        );
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for file in ["", "# nothing\n", "{}\n"] {
            assert_eq!(
                of(&run(file, &[]).unwrap(), "packets"),
                (Some("auto"), Source::Default),
                "{file:?}"
            );
        }
    }

    #[test]
    fn mistakes_name_the_file_the_key_and_the_next_step() {
        for (file, words) in [
            (
                "colour: red\n",
                &["there is no setting colour", "meshctl config schema"][..],
            ),
            ("config: x\n", &["there is no setting config"]),
            ("bpffs: /b\n", &["bpffs can't be set", "--bpffs or MESH_BPFFS"]),
            ("run-dir: /r\n", &["--run-dir or MESH_RUN_DIR"]),
            ("cgroup: /c\n", &["--cgroup or MESH_CGROUP"]),
            ("host-netns: /n\n", &["--host-netns or MESH_HOST_NETNS"]),
            (
                "packets: some\n",
                &[
                    "packets: invalid value 'some'",
                    "possible values: auto, tcx",
                    "schema",
                ],
            ),
            (
                "start-jitter: soon\n",
                &["start-jitter: ", "soon is not a number of seconds"],
            ),
            ("map-size: [NONE=1]\n", &["map-size: ", "NONE is no map"]),
            ("packets: [tcx, off]\n", &["packets: one value"]),
            ("packets:\n", &["packets: null is no value"]),
            (
                "wait-for-handover: perhaps\n",
                &["wait-for-handover: expected true or false"],
            ),
            ("packets\n", &["KEY: VALUE"]),
            ("packets: tcx\npackets: off\n", &["packets"]),
            (
                "manifests: m\nkubeconfig: k\n",
                &["manifests and kubeconfig both"],
            ),
        ] {
            let said = run(file, &[]).unwrap_err();
            for word in words {
                assert!(said.contains(word), "{file:?}: {word:?} is missing in {said}");
            }
            assert!(said.contains("config.yaml"), "{file:?}: {said}");
        }
        assert!(run("manifests: m\n", &["--kubeconfig", "k"]).is_err());
    }

    #[test]
    fn a_change_of_the_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, "packets: off\n").unwrap();
        let settings = Settings {
            file: Some(path.clone()),
            text: "packets: off\n".into(),
            ..Settings::default()
        };
        assert!(!settings.now().changed && !Settings::default().now().changed);
        fs::write(&path, "packets: tcx\n").unwrap();
        assert!(settings.now().changed);
    }

    #[test]
    fn every_setting_has_a_variable() {
        for key in schema() {
            assert!(key.environment.is_some() && !key.about.is_empty(), "{key:?}");
        }
        assert!(
            schema().iter().any(|key| key.key == "bpffs"
                && key.default.as_deref() == Some("/sys/fs/bpf")
                && !key.in_file)
        );
        assert_eq!(schema().iter().filter(|key| !key.in_file).count(), 4);
    }
}
