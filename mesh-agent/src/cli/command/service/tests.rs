use super::*;
use crate::app::admin::UnusedEndpoint;
use crate::cli::held::sample;

fn shown(format: Format, namespace: Option<&str>) -> String {
    let scope = Scope::new(namespace.map(Into::into));
    output::list(&rows(&sample::held(), &scope), format).unwrap()
}

fn one(text: &str, format: Format) -> Result<String, Failure> {
    let reference = Scope::default().reference("service", text)?;
    output::one(&detail::find(&sample::held(), &reference)?, format)
}

#[test]
fn the_table() {
    assert_eq!(
        shown(Format::Table, None),
        "\
NAMESPACE   NAME   PORT   PROTOCOL   FRONTENDS                      ALGORITHM                        AFFINITY   ENDPOINTS
-           id:9      -   UDP        10.96.0.53:53                  random                           none               1
shop        db     5432   TCP        [fd00:96::20]:5432             random                           none               0
shop        dns      53   UDP        10.96.0.9:53,[fd00:96::9]:53   untouched: address of the host   -                  -
shop        web      80   TCP        10.96.0.10:80,192.0.2.7:80     maglev                           10800s             2
"
    );
}

#[test]
fn the_wide_table_adds_ids_and_regions() {
    let wide = shown(Format::Wide, Some("shop"));
    let lines: Vec<_> = wide.lines().collect();
    assert_eq!(lines.len(), 4);
    for (line, end) in [
        (0, "ENDPOINTS   ID   PORT-NAME   OFFSET   SLOTS   TYPES"),
        (
            2,
            "        -    -   -                -       -   ClusterIP,ClusterIP",
        ),
        (
            3,
            "        2    1   http             0       4   ClusterIP,LoadBalancer",
        ),
    ] {
        assert!(lines[line].ends_with(end), "{wide}");
    }
}

#[test]
fn a_selector_looks_at_the_labels_of_the_service() {
    let selected = |selector: &str| {
        let scope = Scope::default().selecting(Some(selector.parse().unwrap()));
        output::list(&rows(&sample::held(), &scope), Format::Name).unwrap()
    };
    assert_eq!(selected("team=shop"), "service/shop/web\n");
    assert_eq!(
        selected("team notin (shop)"),
        "service/shop/db\nservice/shop/dns\n"
    );
    assert_eq!(
        selected(""),
        "service/shop/db\nservice/shop/dns\nservice/shop/web\n"
    );
}

#[test]
fn names_can_be_fed_back() {
    assert_eq!(
        shown(Format::Name, None),
        "service/id:9\nservice/shop/db\nservice/shop/dns\nservice/shop/web\n"
    );
    assert_eq!(one("shop/web", Format::Name).unwrap(), "service/shop/web\n");
    assert!(one("id:9", Format::Name).is_ok());
}

#[test]
fn the_list_as_json() {
    assert_eq!(
        shown(Format::Json, None).split(",\n    {").next().unwrap(),
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "ServiceList",
  "items": [
    {
      "id": 9,
      "protocol": "UDP",
      "frontends": [
        "10.96.0.53:53"
      ],
      "algorithm": "random",
      "affinitySeconds": 0,
      "endpoints": 1,
      "region": {
        "offset": 4,
        "len": 1
      }
    }"#
    );
}

#[test]
fn one_service_with_its_endpoints() {
    assert_eq!(
        one("shop/web", Format::Table).unwrap(),
        "\
Namespace:  shop
Name:       web

Port 80/TCP (http)
  Id:           1
  Frontends:    10.96.0.10:80 (ClusterIP), 192.0.2.7:80 (LoadBalancer)
  AppProtocol:  http
  Policy:       Cluster
  Algorithm:    maglev
  Affinity:     10800s
  Slots:        4 from 0
  Endpoints:    2
    ADDRESS    PORT   POD          BACKEND   SLOTS   SHARE
    10.0.1.2   8080   shop/web-0         1       3   75.0%
    10.0.1.3   8080   shop/web-1         2       1   25.0%
"
    );
}

#[test]
fn endpoints_that_are_not_used_say_why() {
    let reference = Scope::default().reference("service", "shop/db").unwrap();
    let mut db = detail::find(&sample::held(), &reference).unwrap();
    assert_eq!(db.object(), Some(("shop", "db")));
    let unused = |service, address: &str, pod: Option<&str>, why: &str| UnusedEndpoint {
        service,
        address: address.parse().unwrap(),
        pod: pod.map(Into::into),
        why: why.into(),
    };
    db.explain(&[
        unused(1, "10.0.1.9:8080", None, "hints for others"),
        unused(2, "[fd00::1:3]:5432", Some("shop/db-0"), "not ready"),
        unused(2, "[fd00::1:4]:5432", None, "on another node"),
    ]);
    let text = output::one(&db, Format::Table).unwrap();
    let end = "\
  Endpoints:  none: connections are refused
  Unused:  2
    ADDRESS     PORT   POD         WHY
    fd00::1:3   5432   shop/db-0   not ready
    fd00::1:4   5432   -           on another node
";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_is_left_to_the_host_says_why() {
    assert_eq!(
        one("shop/dns", Format::Table).unwrap(),
        "\
Namespace:  shop
Name:       dns

Port 53/UDP
  Frontends:  10.96.0.9:53 (ClusterIP), [fd00:96::9]:53 (ClusterIP)
  Untouched:  address of the host: left to the host
"
    );
    let json = shown(Format::Json, Some("shop"));
    let dns = json.split(",\n    {").nth(1).unwrap();
    assert_eq!(
        dns,
        r#"
      "namespace": "shop",
      "name": "dns",
      "port": 53,
      "protocol": "UDP",
      "frontends": [
        "10.96.0.9:53",
        "[fd00:96::9]:53"
      ],
      "types": [
        "ClusterIP",
        "ClusterIP"
      ],
      "untouched": "address of the host"
    }"#
    );
    assert!(one("id:0", Format::Table).is_err(), "nothing has that id");
}

#[test]
fn the_policy_is_told() {
    let text = one("shop/db", Format::Table).unwrap();
    assert!(text.contains("  Policy:     Local\n"), "{text}");
    assert!(one("id:9", Format::Json).is_ok_and(|text| !text.contains("policy")));
}

#[test]
fn a_service_without_endpoints_says_what_that_means() {
    let text = one("shop/db", Format::Table).unwrap();
    assert!(
        text.ends_with("  Endpoints:  none: connections are refused\n"),
        "{text}"
    );
}

#[test]
fn a_service_that_is_not_there() {
    let failure = one("shop/none", Format::Table).unwrap_err();
    assert_eq!(
        (failure.to_string().as_str(), failure.exit()),
        ("service shop/none is not in the kernel", 1)
    );
}
