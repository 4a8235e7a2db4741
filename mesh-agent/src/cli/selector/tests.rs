use super::*;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector: Selector = selector
        .parse()
        .unwrap_or_else(|error| panic!("{selector}: {error}"));
    selector.matches(&labels.iter().copied().collect())
}

#[test]
fn requirements_hold_as_in_kubernetes() {
    let web = [
        ("app", "web"),
        ("tier", "front"),
        ("mesh-agent.io/x", "1"),
        ("empty", ""),
    ];
    for (selector, expected) in [
        ("", true),
        ("  ", true),
        ("app=web", true),
        ("app==web", true),
        (" app = web ", true),
        ("app=db", false),
        ("none=web", false),
        ("app!=db", true),
        ("app!=web", false),
        ("none!=web", true),
        ("app", true),
        ("none", false),
        ("!none", true),
        ("! none", true),
        ("!app", false),
        ("app in (web,db)", true),
        ("app in (db)", false),
        ("none in (web)", false),
        ("app notin (db,cache)", true),
        ("app notin (web)", false),
        ("none notin (web)", true),
        ("app in ( web , db ),tier=front", true),
        ("app=web,tier=back", false),
        ("app=web,!tier", false),
        ("mesh-agent.io/x=1", true),
        ("empty=", true),
        ("empty", true),
        ("app=", false),
        ("empty in (,a)", true),
        ("app in (,web)", true),
        ("tier in (front),app notin (db),!none,empty", true),
        ("in=web", false),
        ("in in (in)", false),
    ] {
        assert_eq!(matches(selector, &web), expected, "{selector}");
    }
    assert!(matches("in in (in)", &[("in", "in")]));
    assert!(matches("app!=web,!x,y notin (z)", &[]));
}

#[test]
fn what_is_wrong_is_named() {
    for (selector, expected) in [
        ("=web", "expected the key of a label, found \"=\""),
        ("app=web,", "expected the key of a label, found the end"),
        ("app web", "app: expected =, ==, !=, in or notin, found \"web\""),
        ("app=web db", "expected a comma or the end, found \"db\""),
        ("app in web", "app: expected ( and values, found \"web\""),
        ("app in ()", "app: there must be a value between ( and )"),
        ("app in (web", "app: expected a comma or ), found the end"),
        ("!app=web", "expected a comma or the end, found \"=\""),
        ("app>3", "app: > is not supported here"),
        ("app===web", "expected a comma or the end, found \"=\""),
        ("-app=web", "\"-app\" can't be the key of a label"),
        ("a/b/c=web", "\"a/b/c\" can't be the key of a label"),
        ("/b=web", "\"/b\" can't be the key of a label"),
        ("app=we$b", "\"we$b\" can't be the value of a label"),
    ] {
        let error = selector.parse::<Selector>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{selector}: {error}");
    }
    let long = format!("app={}", "x".repeat(64));
    assert!(long.parse::<Selector>().is_err());
}

#[test]
fn a_mistake_in_the_syntax_shows_the_syntax() {
    assert_eq!(
        "app in".parse::<Selector>().unwrap_err().to_string(),
        "app: expected ( and values, found the end; write it as app=web, tier!=db, app in (web,api), \
         app notin (db), app or !app, separated by commas"
    );
}
