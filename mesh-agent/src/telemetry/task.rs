//! The task that reads the kernel's records and turns them into metrics and flow records.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use mesh_common::{
    flow::{EventKind, FlowEvent},
    packet::{UdpKey, UdpTraffic},
};
use prometheus_client::registry::Registry;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    accounting::Accounting,
    denial::Verdict,
    events::Events,
    flow::{self, FlowRecord},
    metrics::{Metrics, PolicyCounts},
    names::Directory,
    tally::Tally,
    udp::{self, Parties, UdpEvent, UdpFlows},
};
use crate::{
    datapath::{listing, peers::Peers, pins::Pins, readings::Readings, tables::TableError},
    sys::{clock, wait::every},
};

/// The ring buffer is read this often, and at once when it fills.
const DRAIN: Duration = Duration::from_millis(200);
/// It is read this often while somebody watches, who wants to see a refusal when it happens.
const WATCHED_DRAIN: Duration = Duration::from_millis(50);
/// Live connections are read this often when nobody asks for metrics, so that short scrape gaps lose nothing.
const SAMPLE: Duration = Duration::from_secs(15);
/// UDP flows are read this often while somebody watches; if that takes long, less often: reading them may take a
/// twentieth of the time.
const WATCH: Duration = Duration::from_secs(1);
const SHARE: u32 = 20;
/// Series of what is gone are looked for this often.
const SWEEP: Duration = Duration::from_mins(1);
/// Records kept for a slow watcher; what it can't take is counted to it as lost.
const BACKLOG: usize = 8_192;
/// Records kept for whoever asks what happened before.
const LATEST: usize = 1_024;

/// What others have of the task.
#[derive(Clone)]
pub struct Telemetry {
    questions: mpsc::Sender<Question>,
    flows: broadcast::Sender<Arc<FlowRecord>>,
    names: Arc<ArcSwapOption<Directory>>,
    fill: Arc<ArcSwap<Vec<Fill>>>,
    uses: Arc<ArcSwap<Vec<Use>>>,
    policies: Arc<ArcSwap<PolicyCounts>>,
}

/// Flow records that were, and those to come.
pub type Flows = (Vec<FlowRecord>, broadcast::Receiver<Arc<FlowRecord>>);

/// How full a table is: name, entries, capacity.
type Fill = (&'static str, u32, u32);
/// A kind of sockets, and whether they may be accelerated.
type Use = (&'static str, bool);

impl Telemetry {
    /// Starts the task; what is registered already is served with its metrics.
    ///
    /// # Errors
    /// Where the counters can't be opened.
    pub fn start(pins: &Pins, events: Events, registry: Registry) -> Result<Self, TableError> {
        let (questions, asked) = mpsc::channel(4);
        let (flows, _) = broadcast::channel(BACKLOG);
        let names = Arc::<ArcSwapOption<Directory>>::default();
        let fill = Arc::<ArcSwap<Vec<Fill>>>::default();
        let uses = Arc::<ArcSwap<Vec<Use>>>::default();
        let policies = Arc::<ArcSwap<PolicyCounts>>::default();
        let task = Task {
            pins: pins.clone(),
            readings: Readings::open(pins)?,
            peers: Peers::open(pins)?,
            udp: UdpFlows::default(),
            events,
            accounting: Accounting::default(),
            metrics: Metrics::beside(registry),
            flows: flows.clone(),
            latest: VecDeque::with_capacity(LATEST),
            udp_not_before: Instant::now(),
            names: names.clone(),
            fill: fill.clone(),
            uses: uses.clone(),
            policies: policies.clone(),
        };
        tokio::spawn(task.run(asked));
        Ok(Self {
            questions,
            flows,
            names,
            fill,
            uses,
            policies,
        })
    }

    /// Replaces the names behind the ids. Until it is called for the first time nothing is counted, since it could
    /// be put down to nobody: the kernel keeps it meanwhile.
    pub fn rename(&self, names: Directory) {
        self.names.store(Some(Arc::new(names)));
    }

    /// Says how full the tables are.
    pub fn fill(&self, fill: Vec<Fill>) {
        self.fill.store(Arc::new(fill));
    }

    /// Says which kinds of sockets the start-up probe has passed for.
    pub fn probed(&self, uses: Vec<Use>) {
        self.uses.store(Arc::new(uses));
    }

    /// Says how it is with policies.
    pub fn policies(&self, counts: PolicyCounts) {
        self.policies.store(Arc::new(counts));
    }

    /// The metrics as they are now.
    pub async fn scrape(&self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(Question::Metrics(reply)).await.ok()?;
        answer.await.ok()
    }

    /// At most this many of the latest flow records, oldest first, and those to come: none is in both, and none
    /// in neither. Where a verdict is given, only those of the latest that tell of it.
    pub async fn flows(&self, count: usize, verdict: Option<Verdict>) -> Option<Flows> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Flows(count, verdict, reply);
        self.questions.send(question).await.ok()?;
        answer.await.ok()
    }

    /// How many watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.flows.receiver_count()
    }
}

enum Question {
    Metrics(oneshot::Sender<String>),
    Flows(usize, Option<Verdict>, oneshot::Sender<Flows>),
}

/// Something to tell a watcher of the flows.
#[derive(Clone, Copy)]
enum Happened {
    /// A socket told it.
    Socket(FlowEvent),
    /// Packets told it.
    Packets(UdpEvent),
}

impl Happened {
    /// What policies said of it, where they did not let it pass.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Socket(event) => EventKind::from_number(event.kind).and_then(Verdict::of),
            Self::Packets(_) => None,
        }
    }

    fn record(&self, clock: &Clock, names: &Directory) -> Option<FlowRecord> {
        match self {
            Self::Socket(event) => flow::record(event, clock.rfc3339(event.at_ns), names),
            Self::Packets(event) => Some(flow::udp_record(event, clock.rfc3339(event.at_ns), names)),
        }
    }
}

struct Task {
    pins: Pins,
    readings: Readings,
    peers: Peers,
    udp: UdpFlows,
    events: Events,
    accounting: Accounting,
    metrics: Metrics,
    flows: broadcast::Sender<Arc<FlowRecord>>,
    latest: VecDeque<Happened>,
    udp_not_before: Instant,
    names: Arc<ArcSwapOption<Directory>>,
    fill: Arc<ArcSwap<Vec<Fill>>>,
    uses: Arc<ArcSwap<Vec<Use>>>,
    policies: Arc<ArcSwap<PolicyCounts>>,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<Question>) {
        let mut drain = every(DRAIN);
        let mut watched_drain = every(WATCHED_DRAIN);
        let mut sample = every(SAMPLE);
        let mut watch = every(WATCH);
        let mut sweep = every(SWEEP);
        loop {
            tokio::select! {
                question = asked.recv() => match question {
                    // Who asked may have gone meanwhile.
                    Some(Question::Metrics(reply)) => {
                        self.sample();
                        drop(reply.send(self.metrics.render()));
                    }
                    Some(Question::Flows(count, verdict, reply)) => {
                        self.drain();
                        self.sample_udp();
                        drop(reply.send((self.latest(count, verdict), self.flows.subscribe())));
                    }
                    None => return,
                },
                () = self.events.filling(), if self.names.load().is_some() => self.drain(),
                _ = drain.tick() => self.drain(),
                _ = watched_drain.tick(), if self.flows.receiver_count() > 0 => self.drain(),
                _ = sample.tick() => self.sample(),
                _ = watch.tick(), if self.flows.receiver_count() > 0 => {
                    if Instant::now() >= self.udp_not_before {
                        self.sample_udp();
                    }
                }
                _ = sweep.tick() => if let Some(names) = &*self.names.load() {
                    self.metrics.sweep(clock::monotonic(), names);
                },
            }
        }
    }

    /// Reads everything there is: first the live connections, then the last words that wait.
    fn sample(&mut self) {
        let Some(names) = self.names.load_full() else {
            return;
        };
        match listing::read(&self.pins) {
            Ok(flows) => {
                let mut tally = Tally::default();
                let seen = self
                    .accounting
                    .live(&flows, |sock, growth| tally.grown(sock, growth));
                self.metrics.add(tally, &names);
                self.drain();
                self.accounting.prune(&seen);
            }
            Err(error) => {
                tracing::debug!(%error, "bytes are counted when connections end");
                self.drain();
            }
        }
        if let Err(error) = self.sample_totals(&names) {
            tracing::warn!(%error, "the kernel's counters can't be read");
        }
        self.sample_udp();
    }

    fn sample_totals(&mut self, names: &Directory) -> Result<(), TableError> {
        let counters = self.readings.counters()?;
        let counters: Vec<_> = counters
            .into_iter()
            .map(|(counter, _, value)| (counter, value))
            .collect();
        self.metrics.kernel(&counters);
        for &(usage, possible) in self.uses.load().iter() {
            self.metrics.acceleration(usage, possible);
        }
        for &(map, entries, capacity) in self.fill.load().iter() {
            self.metrics.map(map, entries, capacity);
        }
        self.metrics.policies(**self.policies.load());
        self.metrics.packets(&self.readings.packets()?, names);
        Ok(())
    }

    fn sample_udp(&mut self) {
        let Some(names) = self.names.load_full() else {
            return;
        };
        let started = Instant::now();
        match self.read_udp(&names) {
            Ok(events) => {
                let clock = Clock::now();
                for event in events {
                    tell(
                        &Happened::Packets(event),
                        &self.flows,
                        &mut self.latest,
                        &clock,
                        &names,
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the UDP flows can't be read"),
        }
        self.udp_not_before = started + started.elapsed() * SHARE;
    }

    fn read_udp(&mut self, names: &Directory) -> Result<Vec<UdpEvent>, TableError> {
        let reading = self.readings.udp()?;
        let peers = &self.peers;
        let identify = |key: &UdpKey, traffic: &UdpTraffic| {
            let interface = names.interfaces.get(&key.ifindex).copied().unwrap_or_default();
            let service = peers.udp_service(interface.netns, key.remote, key.remote_port);
            Parties {
                pod: interface.pod,
                peer: peers.workload(key.remote),
                service,
                client: udp::asked(key, traffic, service),
            }
        };
        let metrics = &self.metrics;
        let grown = |parties, growth| metrics.udp(parties, growth, names);
        let events = self.udp.read(&reading, clock::monotonic(), identify, grown);
        for event in events.iter().filter(|event| event.over) {
            self.readings.remove_udp(event.key)?;
            self.udp.forget(&event.key);
        }
        Ok(events)
    }

    fn drain(&mut self) {
        let Some(names) = self.names.load_full() else {
            return;
        };
        let clock = Clock::now();
        let Self {
            events,
            accounting,
            metrics,
            flows,
            latest,
            ..
        } = self;
        let mut tally = Tally::default();
        events.drain(|event| {
            if EventKind::from_number(event.kind) == Some(EventKind::Closed) {
                count(&event, accounting, &mut tally);
            }
            tell(&Happened::Socket(event), flows, latest, &clock, &names);
        });
        metrics.add(tally, &names);
    }

    fn latest(&self, count: usize, verdict: Option<Verdict>) -> Vec<FlowRecord> {
        let Some(names) = self.names.load_full() else {
            return Vec::new();
        };
        let clock = Clock::now();
        latest(self.latest.iter(), count, verdict)
            .filter_map(|event| event.record(&clock, &names))
            .collect()
    }
}

/// At most so many of the last, oldest first; where a verdict is given, of those that tell of it.
fn latest<'a>(
    events: impl DoubleEndedIterator<Item = &'a Happened> + Clone,
    count: usize,
    verdict: Option<Verdict>,
) -> impl Iterator<Item = &'a Happened> {
    let wanted = move |event: &&Happened| verdict.is_none_or(|verdict| event.verdict() == Some(verdict));
    let wanted = events.filter(wanted);
    let older = wanted.clone().count().saturating_sub(count);
    wanted.skip(older)
}

/// Tells the watchers, and keeps it for those who ask later.
fn tell(
    event: &Happened,
    flows: &broadcast::Sender<Arc<FlowRecord>>,
    latest: &mut VecDeque<Happened>,
    clock: &Clock,
    names: &Directory,
) {
    if flows.receiver_count() > 0
        && let Some(record) = event.record(clock, names)
    {
        // The last watcher may have gone meanwhile.
        let _watchers = flows.send(Arc::new(record));
    }
    if latest.len() == LATEST {
        latest.pop_front();
    }
    latest.push_back(*event);
}

fn count(event: &FlowEvent, accounting: &mut Accounting, tally: &mut Tally) {
    let FlowEvent {
        sock, tcp, received, ..
    } = event;
    if sock.established_ns == 0 {
        tally.failed(sock);
    } else {
        tally.closed(sock, accounting.ended(sock, tcp, *received));
    }
}

/// Ties the kernel's clock to the calendar.
struct Clock {
    calendar: SystemTime,
    monotonic: Duration,
}

impl Clock {
    fn now() -> Self {
        Self {
            calendar: SystemTime::now(),
            monotonic: clock::monotonic(),
        }
    }

    fn rfc3339(&self, monotonic_ns: u64) -> String {
        let ago = self.monotonic.saturating_sub(Duration::from_nanos(monotonic_ns));
        rfc3339(self.calendar.checked_sub(ago).unwrap_or(self.calendar))
    }
}

/// RFC 3339 in UTC with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_a_verdict_are_not_crowded_out_by_others() {
        let event = |kind: EventKind, at_ns| {
            Happened::Socket(FlowEvent {
                kind: kind as u32,
                at_ns,
                ..FlowEvent::default()
            })
        };
        let events = [
            event(EventKind::Denied, 1),
            event(EventKind::Denied, 2),
            event(EventKind::Audited, 3),
            event(EventKind::Denied, 4),
            event(EventKind::Closed, 5),
            event(EventKind::Closed, 6),
        ];
        let times = |count, verdict| -> Vec<u64> {
            let latest = latest(events.iter(), count, verdict);
            latest
                .map(|event| match event {
                    Happened::Socket(event) => event.at_ns,
                    Happened::Packets(event) => event.at_ns,
                })
                .collect()
        };
        assert_eq!(times(2, None), [5, 6]);
        assert_eq!(times(2, Some(Verdict::Denied)), [2, 4]);
        assert_eq!(times(9, Some(Verdict::Audited)), [3]);
        assert_eq!(times(0, Some(Verdict::Denied)), [0; 0]);
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.123Z");
    }
}
