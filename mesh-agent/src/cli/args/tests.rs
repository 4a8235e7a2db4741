use mesh_common::names::path;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    read(
        &mut command("meshctl"),
        &line.split(' ').map(OsString::from).collect::<Vec<_>>(),
    )
}

#[test]
fn the_command_line_is_consistent() {
    command("meshctl").debug_assert();
    command(PLUGIN).debug_assert();
}

#[test]
fn global_options_stand_before_and_after_the_command() {
    for line in [
        "meshctl --run-dir /r -o json -n shop service list",
        "meshctl service list --run-dir /r -o json -n shop",
        "meshctl service --run-dir /r list -o json -n shop",
    ] {
        let global = parse(line).unwrap().global;
        assert_eq!(global.place.run_dir, Path::new("/r"), "{line}");
        assert_eq!(
            (global.output, global.namespace.as_deref()),
            (Format::Json, Some("shop")),
            "{line}"
        );
    }
    let global = parse("meshctl status").unwrap().global;
    assert_eq!(global.place.bpffs, Path::new(path::BPFFS));
}

#[test]
fn usage_errors_exit_with_two() {
    for line in [
        "meshctl",
        "meshctl service",
        "meshctl service list -A -n shop",
        "meshctl -n shop service list -A",
        "meshctl status -o xml",
        "meshctl connection show web",
        "meshctl top --interval 5m",
        "meshctl policy",
        "meshctl policy explain --from shop/client",
        "meshctl policy explain --from shop/client --to shop/web:80 --protocol icmp",
        "meshctl policy wait shop/deny --timeout soon",
        "meshctl flows --verdict refused",
        "meshctl pod list -l app=web,",
        "meshctl status -l app",
    ] {
        assert_eq!(
            parse(line).unwrap_err().exit_code(),
            i32::from(mesh_common::names::exit::USAGE),
            "{line}"
        );
    }
}

#[test]
fn policies_are_asked_for_in_four_ways() {
    for line in [
        "meshctl policy list -n shop",
        "meshctl netpol list",
        "meshctl policy show shop/deny -o yaml",
        "meshctl policy explain --from shop/client --to service/shop/web:80 --protocol udp",
        "meshctl policy explain --from 10.0.0.1 --to [fd00::1]:80",
        "meshctl policy wait deny -n shop --generation 3 --timeout 500ms",
        "meshctl flows -f --verdict denied",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn lists_take_a_selector() {
    for line in [
        "meshctl service list -l app=web",
        "meshctl backend list -l app=web",
        "meshctl pod list --selector !app",
        "meshctl workload list -l=app!=web",
        "meshctl connection list -l app,tier",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    let error = parse("meshctl pod list -l app=we$b").unwrap_err().to_string();
    assert_eq!(
        error.lines().next(),
        Some(
            "error: invalid value 'app=we$b' for '--selector <SELECTOR>': \"we$b\" can't be the value of a label"
        )
    );
}

#[test]
fn as_a_kubectl_plugin_it_calls_itself_so() {
    assert_eq!(program(Some(&"/usr/local/bin/kubectl-mesh".into())), PLUGIN);
    assert_eq!(program(Some(&"./meshctl".into())), "meshctl");
    assert_eq!(program(None), "meshctl");
    let help = command(PLUGIN)
        .try_get_matches_from([PLUGIN, "service", "--help"])
        .unwrap_err()
        .to_string();
    assert!(help.contains("Usage: kubectl mesh service"), "{help}");
}
