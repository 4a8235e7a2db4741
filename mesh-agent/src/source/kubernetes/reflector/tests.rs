use super::*;

const LONG: Duration = Duration::from_mins(5);

fn version(text: &str) -> Version {
    Version(text.into())
}

fn list(at: &str) -> Ask {
    Ask::List(version(at))
}

fn watch(since: &str) -> Ask {
    Ask::Watch(version(since))
}

/// One that listed at this version.
fn listed(at: &str) -> Reflector {
    let mut reflector = Reflector::default();
    assert!(!reflector.listed(version(at)));
    reflector
}

#[test]
fn it_lists_once_and_then_watches_from_the_last_version_seen() {
    let mut it = Reflector::default();
    assert_eq!(it.ask(), list("0"));
    assert!(!it.has_listed());
    assert!(!it.listed(version("10")));
    assert_eq!(it.ask(), watch("10"));
    it.progress(version("12"));
    assert_eq!(it.watch_ended(End::Done(LONG)), 0);
    assert_eq!(it.ask(), watch("12"));
    // A bookmark counts, and a quiet watch is a good one.
    it.progress(version("40"));
    assert_eq!(it.watch_ended(End::Done(LONG)), 0);
    assert_eq!(it.watch_ended(End::Done(LONG)), 0);
    assert_eq!(it.ask(), watch("40"));
}

#[test]
fn the_first_list_is_tried_until_it_comes() {
    let mut it = Reflector::default();
    for failures in 1..=3 {
        assert_eq!(it.list_ended(End::Failed), failures);
        assert_eq!(it.ask(), list("0"));
    }
    assert_eq!(it.list_ended(End::Cut(LONG)), 4);
    it.listed(version("5"));
    assert_eq!(it.ask(), watch("5"));
    it.progress(version("6"));
    assert_eq!(
        it.watch_ended(End::Failed),
        1,
        "what came in between starts the count anew"
    );
}

#[test]
fn no_failure_of_a_watch_but_a_lost_version_makes_it_list() {
    for end in [
        End::Failed,
        End::Cut(LONG),
        End::Cut(Duration::ZERO),
        End::Done(Duration::ZERO),
    ] {
        let mut it = listed("10");
        it.progress(version("11"));
        for _ in 0..20 {
            it.watch_ended(end);
            assert_eq!(it.ask(), watch("11"), "{end:?}");
        }
    }
}

#[test]
fn a_lost_version_costs_one_list_that_is_not_older() {
    let mut it = listed("10");
    it.progress(version("20"));
    assert_eq!(it.watch_ended(End::Gone), 1);
    assert_eq!(
        it.ask(),
        list("20"),
        "not 0, which may be older than what was seen"
    );
    assert!(!it.listed(version("30")));
    assert_eq!(it.ask(), watch("30"));
}

#[test]
fn where_the_server_has_no_such_version_the_latest_is_asked_for() {
    let mut it = listed("10");
    it.watch_ended(End::Gone);
    assert_eq!(it.list_ended(End::Gone), 0, "at once");
    assert_eq!(it.ask(), list(""));
    // What else fails changes nothing in that.
    assert_eq!(it.list_ended(End::Failed), 2);
    assert_eq!(it.ask(), list(""));
    assert_eq!(it.list_ended(End::Gone), 3);
    assert_eq!(it.ask(), list(""));
    assert!(it.listed(version("7")), "the server was set back, which is said");
    assert_eq!(it.ask(), watch("7"));
    // And it is over with that.
    it.progress(version("8"));
    it.watch_ended(End::Gone);
    assert_eq!(it.ask(), list("8"));
}

#[test]
fn a_server_that_goes_on_before_what_was_seen_is_noticed() {
    let mut it = listed("10");
    it.progress(version("12"));
    assert!(it.is_back(&version("11")));
    // The same again is a repetition, and what is no number tells nothing.
    for other in ["12", "13", "", "a"] {
        assert!(!it.is_back(&version(other)), "{other}");
    }
    assert!(!Reflector::default().is_back(&version("1")));
}

#[test]
fn a_server_that_is_silent_twice_is_asked_for_a_list() {
    let mut it = listed("10");
    for _ in 0..2 {
        assert_eq!(it.watch_ended(End::Silent), 1);
        assert_eq!(it.ask(), watch("10"));
        it.progress(version("10"));
    }
    it.watch_ended(End::Silent);
    it.watch_ended(End::Failed);
    assert_eq!(it.ask(), watch("10"), "nobody was there");
    it.watch_ended(End::Silent);
    assert_eq!(it.ask(), list("10"));
    it.listed(version("7"));
    it.watch_ended(End::Silent);
    assert_eq!(it.ask(), watch("7"));
}

#[test]
fn a_first_list_of_a_server_that_has_nothing_in_memory() {
    let mut it = Reflector::default();
    assert_eq!(it.list_ended(End::Gone), 1);
    assert_eq!(it.ask(), list(""));
}

#[test]
fn a_version_that_is_lost_again_and_again_is_not_asked_for_in_a_hurry() {
    let mut it = listed("10");
    for failures in 1..=5 {
        assert_eq!(it.watch_ended(End::Gone), failures);
        it.listed(version("10"));
    }
}

#[test]
fn what_ends_without_a_word_is_asked_for_again_slowly() {
    let mut it = listed("10");
    for failures in 1..=3 {
        assert_eq!(it.watch_ended(End::Done(Duration::ZERO)), failures);
    }
    it.progress(version("11"));
    assert_eq!(it.watch_ended(End::Done(Duration::ZERO)), 0);
    it.progress(version("12"));
    assert_eq!(
        it.watch_ended(End::Cut(Duration::ZERO)),
        1,
        "others lose theirs, too"
    );
    assert_eq!(it.watch_ended(End::Cut(Duration::ZERO)), 1);
    assert_eq!(it.watch_ended(End::Cut(Duration::ZERO)), 2);
}

#[test]
fn an_event_without_a_version_is_still_an_event() {
    let mut it = listed("10");
    it.progress(version(""));
    assert_eq!(it.watch_ended(End::Done(Duration::ZERO)), 0);
    assert_eq!(it.ask(), watch("10"));
}

#[test]
fn versions_need_not_be_numbers() {
    let mut it = listed("a");
    assert!(!it.listed(version("0")));
    assert_eq!(it.ask(), watch("0"));
}

#[test]
fn who_goes_on_where_another_was_takes_no_older_list() {
    let mut it = Reflector::after(Some(version("40")));
    assert_eq!(it.ask(), list("40"));
    assert!(
        !it.has_listed(),
        "its first list is none of those that a loss costs"
    );
    // A server that does not answer changes nothing in that.
    assert_eq!(it.list_ended(End::Failed), 1);
    assert_eq!(it.ask(), list("40"));
    assert!(!it.listed(version("41")));
    assert!(it.has_listed());
    assert_eq!(it.ask(), watch("41"));
}

#[test]
fn who_goes_on_where_another_was_believes_a_server_that_was_set_back() {
    let mut it = Reflector::after(Some(version("40")));
    assert_eq!(it.list_ended(End::Gone), 0, "at once");
    assert_eq!(
        it.ask(),
        list(""),
        "the latest there is, of which every replica knows"
    );
    assert!(it.listed(version("7")), "which is said");
    assert_eq!(it.ask(), watch("7"));
    assert_eq!(Reflector::after(None).ask(), list("0"));
}
