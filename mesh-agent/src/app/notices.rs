//! Writes Events about pods of this node, a few at a time, for whoever asks `kubectl describe`. Nothing waits for it.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1 as api},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use mesh_common::{names::event, tag::mix};
use serde_json::json;
use tokio::sync::watch;

use super::{engine::Engine, run};
use crate::{
    model::notice::{self, Diary, Entry, Notice, Notices},
    source::kubernetes::{Access, Failure, Patch, Writer, roll},
};

/// Between two Events of a node: a cluster of a thousand nodes that all have something to say stays bearable.
const PAUSE: Duration = Duration::from_secs(1);
/// As `kubectl` names the resource.
const RESOURCE: &str = "events.events.k8s.io";
/// The most of a pod's name that is in an Event's, so that it stays a name.
const MOST_OF_A_NAME: usize = 200;
/// The most bytes that a server takes of the note and of the reporting instance (`ValidateEventCreate`).
const MOST_OF_A_NOTE: usize = 1_024;
const MOST_OF_A_REPORTER: usize = 128;

/// Tells the API server what there is to say.
pub struct Herald {
    wanted: watch::Sender<Notices>,
    /// What there was to say at the last look.
    before: Notices,
}

impl Herald {
    /// Begins; there is nothing to say yet.
    #[must_use]
    pub fn start(access: Access, node: String) -> Self {
        let (wanted, due) = watch::channel(Notices::new());
        let scribe = Scribe {
            node,
            writer: Writer::new(access),
            rest: Instant::now(),
            failures: 0,
            trouble: None,
        };
        tokio::spawn(scribe.write(due));
        Self {
            wanted,
            before: Notices::new(),
        }
    }

    /// Looks at what there is to say now.
    pub fn look(&mut self, engine: &Engine) {
        let lost = engine.assignment().unassigned.iter();
        // Without an address there is nothing to find it by yet.
        let lost = lost.filter(|(pod, _)| {
            engine
                .cluster()
                .pod(pod)
                .is_some_and(|it| !it.addresses.is_empty())
        });
        let lost = lost.map(|(pod, why)| (pod, why.to_string()));
        let now = notice::notices(engine.cluster(), engine.ledger().refusals(), lost);
        let wanted = notice::lasting(&now, &self.before);
        self.before = now;
        self.wanted.send_if_modified(|last| {
            let differs = *last != wanted;
            *last = wanted;
            differs
        });
    }
}

struct Scribe {
    node: String,
    writer: Writer,
    /// Nothing is written before.
    rest: Instant,
    /// How many attempts failed in a row through no fault of the Event.
    failures: u32,
    /// Why the last Event could not be written, in a word.
    trouble: Option<String>,
}

impl Scribe {
    /// Writes until there is nobody who looks.
    async fn write(mut self, mut due: watch::Receiver<Notices>) {
        let mut diary = Diary::default();
        loop {
            let next = diary.next(Instant::now()).map(|(due, ..)| due.max(self.rest));
            tokio::select! {
                changed = due.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    diary.want(due.borrow_and_update().clone(), Instant::now());
                }
                () = run::at(next) => self.write_one(&mut diary).await,
            }
        }
    }

    async fn write_one(&mut self, diary: &mut Diary) {
        let Some((_, notice, note, count)) = diary.next(Instant::now()) else {
            return;
        };
        let (notice, note) = (notice.clone(), note.to_owned());
        let written = self.tell(&notice, &note, count).await;
        let entry = Entry {
            note: written.is_ok().then_some(note),
            count: written.as_ref().ok().copied(),
            at: Instant::now(),
        };
        diary.tried(notice, entry);
        let failure = written.err();
        self.pause(failure.as_ref());
        self.report(failure);
    }

    /// Leaves a server alone that takes nothing from us, the longer the more often it said so.
    fn pause(&mut self, failure: Option<&Failure>) {
        self.failures = self.failures.saturating_add(1);
        let longer = failure.and_then(|it| it.pause(self.failures, notice::REFRESH, roll()));
        if longer.is_none() {
            self.failures = 0;
        }
        self.rest = Instant::now() + longer.unwrap_or_default().max(PAUSE);
    }

    /// Makes the Event, or counts one more of it where it is there already, perhaps from before a restart. Gives how
    /// often it was told then.
    async fn tell(&mut self, notice: &Notice, note: &str, count: Option<i32>) -> Result<i32, Failure> {
        let collection = format!(
            "/apis/events.k8s.io/v1/namespaces/{}/events",
            notice.pod.object.namespace
        );
        let event = event(notice, note, &self.node);
        let path = format!(
            "{collection}/{}",
            event.metadata.name.as_deref().unwrap_or_default()
        );
        let count = match count {
            Some(count) => count,
            None => match self.writer.create::<api::Event>(&collection, &event).await {
                Err(failure) if failure.code() == Some(409) => {
                    // Changes nothing, so nothing is written; what there is comes back, without a right to read.
                    let found: api::Event = self.writer.patch(&path, Patch::Merge, &json!({})).await?;
                    found.series.map_or(1, |series| series.count)
                }
                created => return created.map(|_| 1),
            },
        };
        let count = count.saturating_add(1);
        let series = api::EventSeries {
            count,
            last_observed_time: now(),
        };
        let series = json!({ "series": series });
        match self
            .writer
            .patch::<api::Event>(&path, Patch::Merge, &series)
            .await
        {
            Err(failure) if failure.code() == Some(404) => {
                let created = self.writer.create::<api::Event>(&collection, &event).await;
                created.map(|_| 1)
            }
            counted => counted.map(|_| count),
        }
    }

    /// Says once that Events can't be written, and why: the words differ with the pods.
    fn report(&mut self, failure: Option<Failure>) {
        let trouble = failure.as_ref().map(Failure::word);
        if let Some(failure) = failure.filter(|_| self.trouble != trouble) {
            let why = failure.explain("create and patch", RESOURCE, "the agent's credentials");
            tracing::warn!(why, "Events can't be written; all else goes on");
        }
        self.trouble = trouble;
    }
}

/// The Event of a notice. Its name follows from what it says, so that it is the same after a restart.
fn event(notice: &Notice, note: &str, reporter: &str) -> api::Event {
    let Notice { pod, reason } = notice;
    let name: String = pod.object.name.chars().take(MOST_OF_A_NAME).collect();
    let name = name.trim_end_matches(['-', '.']);
    let words = [&*pod.uid, reason.name(), note];
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    let hash = bytes.fold(0, |hash, byte| mix(hash, byte.into()));
    let text = |text: &str| Some(text.to_owned());
    api::Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{hash:016x}")),
            namespace: text(&pod.object.namespace),
            ..ObjectMeta::default()
        },
        event_time: Some(now()),
        reporting_controller: text(event::CONTROLLER),
        reporting_instance: Some(cut(reporter, MOST_OF_A_REPORTER)),
        action: text(event::ACTION),
        reason: text(reason.name()),
        regarding: Some(ObjectReference {
            api_version: text("v1"),
            kind: text("Pod"),
            namespace: text(&pod.object.namespace),
            name: text(&pod.object.name),
            uid: text(&pod.uid),
            ..ObjectReference::default()
        }),
        note: Some(cut(note, MOST_OF_A_NOTE)),
        type_: text("Warning"),
        ..api::Event::default()
    }
}

/// At most that many bytes of it, in whole characters.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        desired::{ObjectName, PodKey},
        notice::Reason,
    };

    #[test]
    fn texts_are_cut_by_bytes_and_between_characters() {
        for (text, kept) in [
            ("short", 5),
            (&*"x".repeat(2_000), 1_024),
            (&*"\u{20ac}".repeat(500), 1_023),
        ] {
            let cut = cut(text, MOST_OF_A_NOTE);
            assert!(cut.len() == kept && text.starts_with(&cut), "{cut}");
        }
        assert_eq!(cut("", MOST_OF_A_NOTE), "");
    }

    #[test]
    fn the_name_follows_from_what_is_said() {
        let name = |pod: &str, uid: &str, reason, note: &str| {
            let pod = PodKey {
                object: ObjectName::new("shop", pod),
                uid: uid.into(),
            };
            event(&Notice { pod, reason }, note, "node-1")
                .metadata
                .name
                .unwrap()
        };
        let one = name("web-0", "u", Reason::OtherMesh, "x");
        assert_eq!(one, "web-0.b04ec303aa1930d9");
        assert_eq!(one, name("web-0", "u", Reason::OtherMesh, "x"));
        for other in [
            name("web-0", "v", Reason::OtherMesh, "x"),
            name("web-0", "u", Reason::Unsupported, "x"),
            name("web-0", "u", Reason::OtherMesh, "y"),
        ] {
            assert_ne!(one, other);
        }
        let long = format!("{}-{}", "a".repeat(199), "b".repeat(53));
        let long = name(&long, "u", Reason::OtherMesh, "x");
        assert!(
            long.len() <= 253 && long.starts_with(&format!("{}.", "a".repeat(199))),
            "{long}"
        );
    }
}
