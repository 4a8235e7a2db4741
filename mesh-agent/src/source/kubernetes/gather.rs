//! From the news of each resource to batches of all.

use std::collections::BTreeMap;

use tokio::{sync::mpsc, task::JoinSet};

use super::{Problem, Resource, Seen, Version};
use crate::model::{
    cluster::Event,
    object::{Object, ObjectRef},
};
use crate::source::Batch;

/// News that may wait for their batch: behind them the followers wait, and then the server.
const WAITING: usize = 256;
/// A batch has not many more events than this, once the first is out.
const LARGE: usize = 4_096;

/// News of a resource.
#[derive(Debug)]
pub struct News {
    pub resource: Resource,
    /// What changed.
    pub events: Vec<Event>,
    /// All that is wrong with its objects now, if that changed.
    pub problems: Option<Vec<Problem>>,
    /// What that came with.
    pub step: Step,
    /// How far that is.
    pub version: Version,
}

/// What brings news.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// All objects.
    List,
    /// One of them changed.
    Event,
    /// Nothing changed up to this version.
    Bookmark,
}

/// Runs the followers and makes batches of what they bring. Ends when one of them does, or nobody wants batches.
pub async fn gather<F>(
    followers: impl FnOnce(mpsc::Sender<News>) -> [F; Resource::ALL.len()],
    batches: mpsc::Sender<Batch>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, mut news) = mpsc::channel(WAITING);
    let mut tasks: JoinSet<()> = followers(sender).into_iter().collect();
    let mut gathered = Gathered::default();
    loop {
        let first = tokio::select! {
            // They follow for ever: one that ends met a fault of ours.
            _ = tasks.join_next() => return,
            first = news.recv() => first,
        };
        let Some(first) = first else { return };
        gathered.add(first);
        while gathered.events.len() < LARGE
            && let Ok(next) = news.try_recv()
        {
            gathered.add(next);
        }
        if let Some(batch) = gathered.batch()
            && batches.send(batch).await.is_err()
        {
            return;
        }
    }
}

/// News that were not handed on yet.
#[derive(Debug)]
struct Gathered {
    /// What is there, until all is: that may take long, and objects change meanwhile.
    first: Option<BTreeMap<ObjectRef, Object>>,
    /// What changed since.
    events: Vec<Event>,
    problems: [Vec<Problem>; Resource::ALL.len()],
    listed: [bool; Resource::ALL.len()],
    seen: Seen,
    taken_in: Seen,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            first: Some(BTreeMap::new()),
            events: Vec::new(),
            problems: Default::default(),
            listed: Default::default(),
            seen: Seen::default(),
            taken_in: Seen::default(),
        }
    }
}

impl Gathered {
    fn add(&mut self, news: News) {
        let index = news.resource as usize;
        match &mut self.first {
            None => self.events.extend(news.events),
            Some(first) => {
                for event in news.events {
                    match event {
                        Event::Upsert(object) => drop(first.insert(object.reference(), object)),
                        Event::Delete(reference) => drop(first.remove(&reference)),
                    }
                }
            }
        }
        self.listed[index] |= news.step == Step::List;
        self.seen.note(news.resource, &news.version);
        if news.step != Step::Bookmark {
            self.taken_in.note(news.resource, &news.version);
        }
        if let Some(problems) = news.problems {
            self.problems[index] = problems;
        }
    }

    /// All of it, once every resource was listed.
    fn batch(&mut self) -> Option<Batch> {
        if !self.listed.iter().all(|listed| *listed) {
            return None;
        }
        let first = self.first.take().into_iter().flatten();
        let events = first.map(|(_, object)| Event::Upsert(object));
        Some(Batch {
            events: events.chain(std::mem::take(&mut self.events)).collect(),
            problems: self.problems.iter().flatten().cloned().map(Into::into).collect(),
            notes: Vec::new(),
            seen: self.seen.clone(),
            taken_in: self.taken_in.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_batch_waits_for_every_resource() {
        let mut gathered = Gathered::default();
        for resource in Resource::ALL {
            assert_eq!(gathered.batch(), None);
            gathered.add(News {
                resource,
                events: vec![Event::Upsert(node(resource.name())), Event::Upsert(node("n"))],
                problems: Some(vec![Problem::NoSuchNode("n".into())]),
                step: Step::List,
                version: Version("5".into()),
            });
        }
        let batch = gathered.batch().unwrap();
        // Of an object that changed meanwhile only the last state counts.
        assert_eq!((batch.events.len(), batch.problems.len()), (7, 6));
        let gone = Event::Delete(ObjectRef::Node("n".into()));
        gathered.add(News {
            resource: Resource::Pods,
            events: vec![gone.clone()],
            problems: Some(vec![]),
            step: Step::Event,
            version: Version("6".into()),
        });
        let batch = gathered.batch().unwrap();
        assert_eq!((batch.events, batch.problems.len()), (vec![gone], 5));
        assert_eq!(batch.seen, batch.taken_in);
        // Only those who wait for a version need to know that nothing happened up to it.
        gathered.add(News {
            resource: Resource::Pods,
            events: vec![],
            problems: None,
            step: Step::Bookmark,
            version: Version("9".into()),
        });
        let batch = gathered.batch().unwrap();
        let of = |seen: &Seen| Resource::ALL.map(|it| seen.version(it).unwrap().0);
        assert_eq!(of(&batch.seen), ["5", "5", "9", "5", "5", "5"]);
        assert_eq!(of(&batch.taken_in), ["5", "5", "6", "5", "5", "5"]);
    }

    #[test]
    fn what_goes_before_the_first_batch_is_not_in_it() {
        let mut gathered = Gathered::default();
        for resource in Resource::ALL {
            gathered.add(News {
                resource,
                events: vec![
                    Event::Upsert(node("n")),
                    Event::Delete(ObjectRef::Node("n".into())),
                ],
                problems: None,
                step: Step::List,
                version: Version::default(),
            });
        }
        assert_eq!(gathered.batch().unwrap().events, []);
    }

    fn node(name: &str) -> Object {
        let node = serde_json::json!({ "metadata": { "name": name } });
        let node: k8s_openapi::api::core::v1::Node = serde_json::from_value(node).unwrap();
        crate::model::object::Node::try_from(node).unwrap().into()
    }

    #[tokio::test]
    async fn a_follower_that_ends_ends_all() {
        let (batches, mut received) = mpsc::channel(1);
        gather(
            |_| {
                Resource::ALL.map(|it| async move {
                    if it != Resource::Pods {
                        std::future::pending::<()>().await;
                    }
                })
            },
            batches,
        )
        .await;
        assert_eq!(received.recv().await, None);
    }
}
