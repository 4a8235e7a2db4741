use super::super::decode::{Source, decode};
use super::*;

/// A Namespace in a document; its label makes versions of it.
fn doc(name: &str, version: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    mesh-agent.io/dataplane: {version}\n"
    )
}

const BROKEN: &str = "---\na: [\n";

fn reading(name: &str, text: &str) -> (String, Reading) {
    let contents = decode(&[Source { name, text }]).remove(0);
    (name.to_owned(), Reading::Contents(contents))
}

fn failed(name: &str) -> (String, Reading) {
    (name.to_owned(), Reading::Failed(Fault::TooLarge { bytes: 1 }))
}

fn gone(name: &str) -> (String, Reading) {
    (name.to_owned(), Reading::Gone)
}

/// Events in short: `+name=version` and `-name`.
fn short(events: &[Event]) -> Vec<String> {
    let short = |event: &Event| match event {
        Event::Upsert(Object::Namespace(it)) => {
            let version = match it.dataplane.value() {
                Some(true) => "enabled",
                Some(false) => "disabled",
                None => "?",
            };
            format!("+{}={version}", it.name)
        }
        Event::Delete(ObjectRef::Namespace(name)) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    events.iter().map(short).collect()
}

fn problems(directory: &Directory) -> Vec<String> {
    directory.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_new_changed_or_gone_is_an_event() {
    let mut directory = Directory::default();
    let text = doc("a", "enabled") + &doc("b", "enabled");
    assert_eq!(
        short(&directory.update([reading("1.yaml", &text)])),
        ["+a=enabled", "+b=enabled"]
    );
    assert_eq!(short(&directory.update([reading("1.yaml", &text)])), [""; 0]);
    let text = doc("b", "disabled") + &doc("c", "enabled");
    assert_eq!(
        short(&directory.update([reading("1.yaml", &text)])),
        ["-a", "+b=disabled", "+c=enabled"]
    );
    assert_eq!(short(&directory.update([gone("1.yaml")])), ["-b", "-c"]);
    assert_eq!(short(&directory.update([gone("1.yaml")])), [""; 0]);
    assert_eq!(directory.files().count(), 0);
}

#[test]
fn a_broken_document_takes_nothing_away_and_hides_nothing_new() {
    let mut directory = Directory::default();
    let good = doc("a", "enabled") + &doc("b", "enabled");
    let _ = directory.update([reading("1.yaml", &good)]);

    let broken = doc("a", "disabled") + BROKEN + &doc("c", "enabled");
    assert_eq!(
        short(&directory.update([reading("1.yaml", &broken)])),
        ["+a=disabled", "+c=enabled"]
    );
    assert_eq!(problems(&directory).len(), 1);

    // Still broken: nothing is forgotten in between.
    assert_eq!(short(&directory.update([reading("1.yaml", BROKEN)])), [""; 0]);
    assert_eq!(short(&directory.update([failed("1.yaml")])), [""; 0]);

    let mended = doc("b", "enabled");
    assert_eq!(
        short(&directory.update([reading("1.yaml", &mended)])),
        ["-a", "-c"]
    );
    assert_eq!(problems(&directory), [""; 0]);
}

#[test]
fn an_invalid_object_keeps_its_last_good_state() {
    let mut directory = Directory::default();
    let pod = |ip: &str| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nstatus:\n  podIP: {ip}\n");
    assert_eq!(directory.update([reading("1.yaml", &pod("10.0.0.1"))]).len(), 1);
    assert_eq!(directory.update([reading("1.yaml", &pod("10.0.0.x"))]), []);
    assert_eq!(
        problems(&directory),
        ["1.yaml:6: document 1: Pod default/p: status.podIP: \"10.0.0.x\" is not an IP address"]
    );
    assert_eq!(directory.update([reading("1.yaml", &pod("10.0.0.1"))]), []);
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_state() {
    let mut directory = Directory::default();
    let _ = directory.update([reading("1.yaml", &doc("a", "enabled"))]);
    assert_eq!(short(&directory.update([failed("1.yaml")])), [""; 0]);
    assert_eq!(
        problems(&directory),
        ["1.yaml: has 1 bytes, more than the 16777216 a file may have"]
    );
    assert_eq!(short(&directory.update([gone("1.yaml")])), ["-a"]);
}

#[test]
fn the_first_file_counts() {
    let mut directory = Directory::default();
    let (on, off) = (doc("a", "enabled"), doc("a", "disabled"));
    assert_eq!(
        short(&directory.update([reading("2.yaml", &off)])),
        ["+a=disabled"]
    );
    assert_eq!(short(&directory.update([reading("1.yaml", &on)])), ["+a=enabled"]);
    assert_eq!(
        problems(&directory),
        ["2.yaml:2: document 1: Namespace a is ignored: 1.yaml has it too"]
    );
    assert_eq!(short(&directory.update([reading("2.yaml", &on)])), [""; 0]);
    let _ = directory.update([reading("2.yaml", &off)]);
    assert_eq!(short(&directory.update([gone("1.yaml")])), ["+a=disabled"]);
    assert_eq!(problems(&directory), [""; 0]);
    assert_eq!(short(&directory.update([gone("2.yaml")])), ["-a"]);
}

#[test]
fn the_first_document_of_a_file_counts() {
    let mut directory = Directory::default();
    let text = doc("a", "enabled") + &doc("a", "disabled");
    assert_eq!(
        short(&directory.update([reading("1.yaml", &text)])),
        ["+a=enabled"]
    );
    assert_eq!(
        problems(&directory),
        ["1.yaml:9: document 2: Namespace a is ignored: 1.yaml has it too"]
    );
    // A repetition hides nothing, so the file still takes away what it does not list.
    let text = doc("b", "enabled") + &doc("b", "enabled");
    assert_eq!(
        short(&directory.update([reading("1.yaml", &text)])),
        ["-a", "+b=enabled"]
    );
}

#[test]
fn an_object_may_move_to_another_file() {
    let mut directory = Directory::default();
    let text = doc("a", "enabled");
    let _ = directory.update([reading("1.yaml", &text)]);
    let both = [reading("1.yaml", ""), reading("2.yaml", &text)];
    assert_eq!(
        short(&directory.update(both)),
        [""; 0],
        "in one look nothing happened"
    );
    let back = [gone("2.yaml"), reading("1.yaml", &doc("a", "disabled"))];
    assert_eq!(short(&directory.update(back)), ["+a=disabled"]);
}

#[test]
fn what_a_broken_file_said_counts_less_than_what_another_says_now() {
    let mut directory = Directory::default();
    let _ = directory.update([reading("1.yaml", &doc("a", "enabled"))]);
    let _ = directory.update([reading("1.yaml", BROKEN)]);
    assert_eq!(
        short(&directory.update([reading("2.yaml", &doc("a", "disabled"))])),
        ["+a=disabled"]
    );
    assert_eq!(
        problems(&directory).len(),
        1,
        "the broken document, and no repetition"
    );
    assert_eq!(short(&directory.update([gone("2.yaml")])), ["+a=enabled"]);
    assert_eq!(short(&directory.update([reading("1.yaml", "")])), ["-a"]);
}

#[test]
fn problems_and_notes_are_in_the_order_of_the_files() {
    let mut directory = Directory::default();
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    let _ = directory.update([
        reading("b.yaml", &format!("{BROKEN}{BROKEN}")),
        reading("a.yaml", &format!("{other}{BROKEN}")),
    ]);
    let places: Vec<_> = directory
        .problems()
        .into_iter()
        .map(|it| (it.file, it.place.document))
        .collect();
    let place = |file: &str, document| (file.to_owned(), Some(document));
    assert_eq!(
        places,
        [place("a.yaml", 2), place("b.yaml", 1), place("b.yaml", 2)]
    );
    let notes: Vec<_> = directory.notes().iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["a.yaml:1: document 1: apps/v1 Deployment is not for the mesh"]
    );
}
