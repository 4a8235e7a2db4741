use super::super::resource::named;
use super::super::scene::{pod, query, store};
use super::*;

/// A store with the pods `a` to `e`, and the answer to a query as body.
fn filled() -> Store {
    let mut store = store();
    for name in ["a", "b", "c", "d", "e"] {
        store.put(named("pods").expect("known"), pod(name, name));
    }
    store
}

fn ask(store: &Store, text: &str) -> Answer<Value> {
    ask_cached(store, text, store.version())
}

fn ask_cached(store: &Store, text: &str, cached: u64) -> Answer<Value> {
    let pods = named("pods").expect("known");
    let query = query(text);
    let selector = Selector::parse(pods, None, &query.label_selector, &query.field_selector)?;
    let listing = list(store, pods, &selector, &query, cached)?;
    Ok(serde_json::from_slice(&listing.body(pods)).expect("JSON"))
}

fn names(list: &Value) -> String {
    let items = list["items"].as_array().expect("items").iter();
    items
        .map(|item| item["metadata"]["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn pieces_are_of_one_version_whatever_changes_in_between() {
    let pods = named("pods").expect("known");
    let mut store = filled();
    let first = ask(&store, "limit=2").expect("a list");
    assert_eq!(
        (names(&first).as_str(), &first["metadata"]["remainingItemCount"]),
        ("ab", &3.into())
    );
    store.remove(pods, "n/c").expect("was there");
    store.put(pods, pod("bb", "new"));
    let token = |list: &Value| {
        list["metadata"]["continue"]
            .as_str()
            .map(str::to_owned)
            .expect("a token")
    };
    let second = ask(&store, &format!("limit=2&continue={}", token(&first))).expect("a list");
    assert_eq!(names(&second), "cd");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let third = ask(&store, &format!("limit=2&continue={}", token(&second))).expect("a list");
    assert_eq!(
        (names(&third).as_str(), third["metadata"].get("continue")),
        ("e", None)
    );
    // Forgotten: 410, with a token for the rest as it is now.
    store.compact();
    let failure = ask(&store, &format!("limit=2&continue={}", token(&first))).expect_err("expired");
    assert_eq!((failure.code, failure.reason), (410, "Expired"));
    let rest = failure.body();
    let rest = rest["metadata"]["continue"].as_str().expect("a token");
    assert_eq!(
        names(&ask(&store, &format!("continue={rest}")).expect("the rest")),
        "bbde"
    );
    for bad in ["continue=zz", "continue=%C3%A4%C3%A4"] {
        assert_eq!(ask(&store, bad).expect_err(bad).code, 400);
    }
}

#[test]
fn versions_are_meant_as_the_match_says() {
    let mut store = filled();
    let old = store.version();
    store
        .remove(named("pods").expect("known"), "n/a")
        .expect("was there");
    let seen = |text: &str| {
        ask(&store, text)
            .map(|list| names(&list))
            .map_err(|failure| failure.code)
    };
    assert_eq!(seen("").as_deref(), Ok("bcde"));
    assert_eq!(seen(&format!("resourceVersion={old}")).as_deref(), Ok("bcde"));
    assert_eq!(
        seen(&format!("resourceVersion={old}&resourceVersionMatch=Exact")).as_deref(),
        Ok("abcde")
    );
    assert_eq!(
        seen(&format!(
            "resourceVersion={old}&resourceVersionMatch=NotOlderThan"
        ))
        .as_deref(),
        Ok("bcde")
    );
    assert_eq!(
        seen("resourceVersion=0&limit=1").as_deref(),
        Ok("bcde"),
        "the cache knows no limit"
    );
    assert_eq!(seen("resourceVersion=99"), Err(504));
    assert_eq!(seen("resourceVersion=x"), Err(400));
    assert_eq!(seen("resourceVersionMatch=Exact"), Err(422));
    assert_eq!(seen("resourceVersion=0&resourceVersionMatch=Exact"), Err(422));
    assert_eq!(seen("sendInitialEvents=true"), Err(422));
}

#[test]
fn a_cache_that_is_behind_answers_lists_of_any_version_only() {
    let mut store = filled();
    let old = store.version();
    store
        .remove(named("pods").expect("known"), "n/a")
        .expect("was there");
    let stale = ask_cached(&store, "resourceVersion=0", old).expect("a list");
    assert_eq!(names(&stale), "abcde");
    assert_eq!(stale["metadata"]["resourceVersion"], old.to_string());
    assert_eq!(names(&ask_cached(&store, "", old).expect("a list")), "bcde");
}

#[test]
fn selectors_choose_and_hide_how_many_remain() {
    let store = filled();
    let list = ask(&store, "labelSelector=app+in+(a,b,c)&limit=2").expect("a list");
    assert_eq!(names(&list), "ab");
    assert_eq!(list["metadata"].get("remainingItemCount"), None);
    assert!(list["metadata"]["continue"].is_string());
    assert_eq!(
        names(&ask(&store, "fieldSelector=metadata.name%3Dd").expect("a list")),
        "d"
    );
}
