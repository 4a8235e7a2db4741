//! The commands: each reads what it needs, builds what it shows by pure functions, and writes it.

mod accel;
mod backend;
mod check;
mod completion;
mod config;
mod connection;
mod diff;
mod flows;
mod link;
mod map;
mod pod;
mod policy;
mod preflight;
mod program;
mod service;
mod status;
mod top;
mod version;
mod workload;

use super::{
    answer::Answer,
    args::{
        Command, Global, Invocation,
        verb::{
            AccelVerb, BackendVerb, ConfigVerb, ConnectionVerb, LinkVerb, MapVerb, PodVerb, PolicyVerb,
            ProgVerb, ServiceVerb, WorkloadVerb,
        },
    },
    failure::Failure,
    node::Node,
    output::style::Style,
    remote,
    scope::Scope,
    sysdump,
};

/// Carries out a command.
///
/// # Errors
/// Why there is no answer.
pub fn run(invocation: Invocation, style: Style) -> Result<Answer, Failure> {
    let Global {
        place,
        output,
        namespace,
        all_namespaces: _,
    } = invocation.cli.global;
    let node = Node::new(place);
    if needs_mesh(&invocation.cli.command) {
        remote::elsewhere(&node)?;
    }
    let scope = Scope::new(namespace);
    let text = match invocation.cli.command {
        Command::Status => return status::run(&node, output),
        Command::Check { pre: true } => return preflight::run(&node, output, style),
        Command::Check { pre: false } => return check::run(&node, output, style),
        Command::Diff => return diff::run(&node, output),
        Command::Sysdump(args) => return sysdump::here(&node, args.file.as_deref()),
        Command::Top(args) => return top::run(&node, &scope, &args, output, style),
        Command::Flows(args) => flows::run(&node, &scope, &args, output).map(|()| String::new()),
        Command::Policy(PolicyVerb::Explain(args)) => return policy::explain(&node, &scope, &args, output),
        Command::Policy(PolicyVerb::Wait {
            policy,
            generation,
            timeout,
        }) => return policy::wait(&node, &scope, &policy, generation, timeout),
        Command::Policy(PolicyVerb::List) => policy::list(&node, &scope, output),
        Command::Policy(PolicyVerb::Show { policy }) => policy::show(&node, &scope, &policy, output),
        Command::Service(ServiceVerb::List(list)) => {
            service::list(&node, &scope.selecting(list.selector), output)
        }
        Command::Service(ServiceVerb::Show { service }) => service::show(&node, &scope, &service, output),
        Command::Backend(BackendVerb::List(list)) => {
            backend::list(&node, &scope.selecting(list.selector), output)
        }
        Command::Backend(BackendVerb::Show { backend }) => backend::show(&node, &backend, output),
        Command::Pod(PodVerb::List(list)) => pod::list(&node, &scope.selecting(list.selector), output),
        Command::Pod(PodVerb::Show { pod }) => pod::show(&node, &scope, &pod, output),
        Command::Workload(WorkloadVerb::List(list)) => {
            workload::list(&node, &scope.selecting(list.selector), output)
        }
        Command::Workload(WorkloadVerb::Show { workload }) => {
            workload::show(&node, &scope, &workload, output)
        }
        Command::Connection(ConnectionVerb::List(filter)) => {
            let scope = scope.selecting(filter.selector.clone());
            connection::list(&node, &scope, &filter, output)
        }
        Command::Connection(ConnectionVerb::Show { cookie }) => connection::show(&node, cookie, output),
        Command::Map(MapVerb::List) => map::list(&node, output),
        Command::Map(MapVerb::Dump { name }) => map::dump(&node, &name, output),
        Command::Prog(ProgVerb::List) => program::list(&node, output),
        Command::Link(LinkVerb::List) => link::list(&node, output),
        Command::Accel(AccelVerb::Status) => accel::status(&node, output),
        Command::Accel(AccelVerb::Enable) => accel::switch(&node, false),
        Command::Accel(AccelVerb::Disable) => accel::switch(&node, true),
        Command::Config { verb: None } => config::show(&node, output),
        Command::Config {
            verb: Some(ConfigVerb::Schema),
        } => config::schema(output),
        Command::Version => version::run(&node, output),
        Command::Completion { shell } => Ok(completion::script(shell, invocation.program)),
    };
    text.map(Answer::good)
}

/// Whether there is nothing to say where there is no mesh.
fn needs_mesh(command: &Command) -> bool {
    !matches!(
        command,
        Command::Check { pre: true }
            | Command::Config { verb: Some(_) }
            | Command::Version
            | Command::Completion { .. }
    )
}
