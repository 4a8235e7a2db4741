use std::fmt::Write as _;

use super::*;

const FIXTURES: [(&str, &str, usize); 5] = [
    (
        "namespaces.json",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/list-namespaces.json"
        )),
        5,
    ),
    (
        "nodes.json",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/list-nodes.json"
        )),
        1,
    ),
    (
        "pods.json",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/list-pods.json"
        )),
        2,
    ),
    (
        "services.json",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/list-services.json"
        )),
        3,
    ),
    (
        "slices.json",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/list-endpointslices.json"
        )),
        3,
    ),
];

fn decoded(name: &str, text: &str) -> Contents {
    decode(&[Source { name, text }]).remove(0)
}

fn names(contents: &Contents) -> Vec<String> {
    let names = contents.objects.iter();
    names.map(|(object, _)| object.reference().to_string()).collect()
}

fn problems(contents: &Contents) -> Vec<String> {
    contents.problems.iter().map(ToString::to_string).collect()
}

fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  - port: {port}\n"
    )
}

#[test]
fn lists_of_the_api_server_are_manifests_in_json_and_in_yaml() {
    for (name, text, count) in FIXTURES {
        let json = decoded(name, text);
        assert_eq!(problems(&json), [""; 0]);
        assert_eq!(json.objects.len(), count, "{name}");
        // JSON is YAML too.
        let yaml = decoded("list.yaml", text);
        assert_eq!(yaml.objects, json.objects, "{name}");
    }
}

#[test]
fn documents_lists_and_empty_ones() {
    let (a, b) = (service("a", "80"), service("b", "80"));
    let item = |text: &str| format!("- {}", text.trim_end().replace('\n', "\n  "));
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}\n{}\n", item(&a), item(&b));
    let (both, none) = (vec!["Service default/a", "Service default/b"], vec![]);
    for (name, text, expected) in [
        ("x.yaml", String::new(), none.clone()),
        ("x.yaml", "# nothing\n---\n---\n".to_owned(), none.clone()),
        ("x.yaml", "null\n---\n~\n".to_owned(), none.clone()),
        ("x.yaml", format!("{a}---\n{b}"), both.clone()),
        ("x.yml", format!("---\n{a}...\n---\n{b}...\n"), both.clone()),
        ("x.yaml", list, both.clone()),
        (
            "x.yaml",
            "apiVersion: v1\nkind: List\nitems: []\n".to_owned(),
            none.clone(),
        ),
        (
            "x.yaml",
            "apiVersion: v1\nkind: List\nitems:\n".to_owned(),
            none.clone(),
        ),
        ("x.json", String::new(), none.clone()),
        ("x.json", " \n".to_owned(), none),
    ] {
        let contents = decoded(name, &text);
        assert_eq!(names(&contents), expected, "{text}");
        assert_eq!(problems(&contents), [""; 0], "{text}");
    }
}

#[test]
fn several_values_of_json_follow_each_other() {
    let one = |name: &str| {
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{{\"name\":\"{name}\"}}}}")
    };
    let contents = decoded("x.json", &format!("{}\n\n{}\n{{", one("a"), one("b")));
    assert_eq!(names(&contents), ["Node a", "Node b"]);
    let lines: Vec<_> = contents.objects.iter().map(|(_, place)| place.line).collect();
    assert_eq!(lines, [Some(1), Some(3)]);
    assert_eq!(
        problems(&contents),
        ["x.json:4: document 3: EOF while parsing an object"]
    );
}

#[test]
fn a_mistake_in_one_document_does_not_hide_the_others() {
    let text = format!(
        "{}---\na: [1, 2\n---\n{}---\n{}",
        service("a", "80"),
        service("b", "eighty"),
        service("c", "70000")
    );
    let contents = decoded("x.yaml", &(text + "---\n" + &service("d", "80")));
    assert_eq!(names(&contents), ["Service default/a", "Service default/d"]);
    let problems = problems(&contents);
    assert_eq!(problems.len(), 3);
    assert!(
        problems[0].starts_with("x.yaml:10: document 2: "),
        "{}",
        problems[0]
    );
    assert_eq!(
        problems[1..],
        [
            "x.yaml:19: document 3: Service b: spec.ports[0].port: \
             invalid type: string \"eighty\", expected i32",
            "x.yaml:28: document 4: Service default/c: spec.ports[0].port: 70000 is not a port",
        ]
    );
}

#[test]
fn mistakes_are_named_with_file_line_document_and_field() {
    let head = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n";
    for (text, expected) in [
        (
            "- 1\n",
            "x.yaml:1: document 1: is no Kubernetes object: kind and apiVersion are expected",
        ),
        (
            "kind: Service\n",
            "x.yaml:1: document 1: is no Kubernetes object: kind and apiVersion are expected",
        ),
        (
            "just text\n",
            "x.yaml:1: document 1: is no Kubernetes object: kind and apiVersion are expected",
        ),
        (
            "a: 1\na: 2\n",
            "x.yaml:2: document 1: the key \"a\" is there twice",
        ),
        (
            "---\na:\n\tb: 1\n",
            "x.yaml:3: document 1: tabs disallowed within this context (block indentation)",
        ),
        (
            "apiVersion: v1\nkind: Service\n",
            "x.yaml:1: document 1: Service default/: metadata.name: is missing",
        ),
        (
            &format!("{head}spec: 5\n"),
            "x.yaml:4: document 1: Service shop/web: spec: invalid type: integer `5`, expected ServiceSpec",
        ),
        (
            &format!("{head}spec:\n  clusterIP: [10.96.0.1]\n"),
            "x.yaml:5: document 1: Service shop/web: spec.clusterIP: invalid type: sequence, expected a string",
        ),
        (
            &format!("# why\n{head}spec:\n  ports:\n  - port: 80\n  - {{name: b, port: 0}}\n"),
            "x.yaml:8: document 1: Service shop/web: spec.ports[1].port: 0 is not a port",
        ),
        (
            "apiVersion: v1beta1\nkind: Service\nmetadata: {name: web}\n",
            "x.yaml:1: document 1: Service web: apiVersion: \"v1beta1\" is not supported, \"v1\" is",
        ),
        (
            "kind: EndpointSlice\napiVersion: discovery.k8s.io/v1beta1\nmetadata: {name: web}\n",
            "x.yaml:2: document 1: EndpointSlice web: apiVersion: \
             \"discovery.k8s.io/v1beta1\" is not supported, \"discovery.k8s.io/v1\" is",
        ),
        (
            "kind: NetworkPolicy\napiVersion: extensions/v1beta1\nmetadata: {name: web}\n",
            "x.yaml:2: document 1: NetworkPolicy web: apiVersion: \
             \"extensions/v1beta1\" is not supported, \"networking.k8s.io/v1\" is",
        ),
        (
            "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: web}\nspec:\n  ingress:\n  - from: 5\n",
            "x.yaml:6: document 1: NetworkPolicy web: spec.ingress[0].from: \
             invalid type: integer `5`, expected a sequence",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n}}\n- apiVersion: v1\n  kind: Node\n  metadata:\n    name: a/b\n",
            "x.yaml:8: document 1: Node a/b: metadata.name: \"a/b\" is not a name",
        ),
    ] {
        assert_eq!(problems(&decoded("x.yaml", text)), [expected], "{text}");
    }
}

#[test]
fn mistakes_in_json_have_lines_too() {
    let text =
        "\n{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Node\",\n  \"metadata\": {\n    \"name\": 5\n  }\n}\n";
    assert_eq!(
        problems(&decoded("x.json", text)),
        ["x.json:6: document 1: Node (without a name): metadata.name: \
          invalid type: integer `5`, expected a string"]
    );
}

#[test]
fn other_kinds_are_notes() {
    for (kind, version) in [
        ("Deployment", "apps/v1"),
        ("Service", "serving.knative.dev/v1"),
        ("ServiceList", "serving.knative.dev/v1"),
        ("Endpoints", "v1"),
        ("NetworkPolicy", "crd.projectcalico.org/v1"),
        ("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    ] {
        let contents = decoded("x.yaml", &format!("kind: {kind}\napiVersion: {version}\n"));
        let notes: Vec<_> = contents.notes.iter().map(ToString::to_string).collect();
        let expected = format!("x.yaml:1: document 1: {version} {kind} is not for the mesh");
        assert_eq!((notes, problems(&contents)), (vec![expected], vec![]));
    }
}

#[test]
fn policies_are_read_alone_and_in_lists() {
    let spec = "spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}";
    let alone =
        format!("kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {{name: a}}\n{spec}\n");
    let list = format!(
        "kind: NetworkPolicyList\napiVersion: networking.k8s.io/v1\nitems:\n- metadata: {{name: a}}\n  {spec}\n"
    );
    for text in [alone, list] {
        let contents = decoded("x.yaml", &text);
        assert_eq!(problems(&contents), [""; 0], "{text}");
        assert_eq!(names(&contents), ["NetworkPolicy default/a"], "{text}");
        let Object::NetworkPolicy(policy) = &contents.objects[0].0 else {
            panic!("{contents:?}")
        };
        assert_eq!(policy.ingress.as_ref().map(Vec::len), Some(1), "{text}");
    }
}

#[test]
fn what_aliases_blow_up_is_refused() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (last, next) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        let aliases = vec![format!("*{last}"); 10].join(",");
        writeln!(text, "{next}: &{next} [{aliases}]").unwrap();
    }
    let long = format!(
        "a: &a \"{}\"\nb: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*a"; 100].join(",")
    );
    let deep = "[".repeat(100_000);
    for text in [text, long, deep] {
        let contents = decoded("x.yaml", &text);
        let [problem] = &contents.problems[..] else {
            panic!("{:?}", contents.problems)
        };
        assert!(matches!(problem.fault, Fault::Syntax(_)), "{problem}");
    }
}

#[test]
fn words_are_words() {
    let text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  labels: {a: on, topology.kubernetes.io/zone: no}\n";
    let contents = decoded("x.yaml", text);
    assert_eq!(
        (names(&contents), problems(&contents)),
        (vec!["Node n".to_owned()], vec![])
    );
}

#[test]
fn anchors_within_reason_are_good() {
    let text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: &n here\n  labels: {topology.kubernetes.io/zone: *n}\n";
    assert_eq!(names(&decoded("x.yaml", text)), ["Node here"]);
}

#[test]
fn a_long_document_is_not_taken_for_a_bomb() {
    let endpoint =
        "- addresses: [10.0.0.1]\n  conditions: {ready: true, serving: true, terminating: false}\n";
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s}}\naddressType: IPv4\nendpoints:\n{}",
        endpoint.repeat(40_000)
    );
    let contents = decoded("x.yaml", &text);
    assert_eq!(problems(&contents), [""; 0]);
    assert_eq!(names(&contents), ["EndpointSlice default/s"]);
}

#[test]
fn many_documents_keep_their_order_on_several_threads() {
    let name = |file: usize, it: usize| format!("s{file}-{it}");
    let text = |file| {
        (0..1_000)
            .map(|it| service(&name(file, it), "80"))
            .collect::<Vec<_>>()
    };
    let files: Vec<String> = (0..4).map(|file| text(file).join("---\n")).collect();
    let sources: Vec<_> = files.iter().map(|text| Source { name: "x.yaml", text }).collect();
    let contents = decode(&sources);
    for (file, contents) in contents.iter().enumerate() {
        let expected: Vec<_> = (0..1_000)
            .map(|it| format!("Service default/s{file}-{it}"))
            .collect();
        assert_eq!(names(contents), expected);
        assert_eq!(contents.objects[999].1.document, Some(1_000));
    }
}
