use super::*;

fn rule(name: &str, peer: bool, port: bool) -> RuleAnswer {
    RuleAnswer {
        rule: name.into(),
        passes: peer && port,
        peer,
        port,
    }
}

/// `shop/client` may not reach `shop/web`, as the kernel says, too.
fn denied() -> Explained {
    let web = SideAnswer {
        says: Says::Isolated,
        policies: vec![
            PolicyAnswer {
                policy: "shop/deny".into(),
                ..PolicyAnswer::default()
            },
            PolicyAnswer {
                policy: "shop/web".into(),
                rules: vec![
                    rule("shop/web ingress[0]", false, true),
                    rule("shop/web ingress[1]", true, false),
                ],
                faults: vec!["spec.ingress[2]: is missing".into()],
            },
        ],
        judge: Judge::Here,
        kernel: Some(KernelAnswer {
            says: Looked::Denied,
            set: 7,
            set_policies: vec!["shop/deny".into(), "shop/web".into()],
            class: 3,
            agrees: true,
            ..KernelAnswer::default()
        }),
        ..SideAnswer::default()
    };
    let client = SideAnswer {
        says: Says::Allowed,
        policies: vec![PolicyAnswer {
            policy: "shop/out".into(),
            rules: vec![rule("shop/out egress[0]", true, true)],
            faults: Vec::new(),
        }],
        judge: Judge::Elsewhere,
        fail_mode: Fail::Closed,
        ..SideAnswer::default()
    };
    let flow = FlowAnswer {
        source: EndAnswer {
            pod: Some("shop/client".into()),
            address: "10.0.0.1".into(),
            ..EndAnswer::default()
        },
        destination: EndAnswer {
            pod: Some("shop/web".into()),
            address: "10.0.0.2".into(),
            recognised_by: Sight::Cookie,
            unsettled: false,
        },
        port: 8080,
        verdict: Outcome::Denied,
        egress: client,
        ingress: web,
    };
    Explained {
        from: "shop/client".into(),
        to: "shop/web:8080".into(),
        protocol: "TCP".into(),
        drift: false,
        flows: vec![flow],
    }
}

#[test]
fn a_denial_for_people() {
    let answered = answer(denied(), Format::Table).unwrap();
    assert_eq!(
        answered.text,
        "\
shop/client -> shop/web TCP/8080: denied
  From:  10.0.0.1, recognised by address
  To:    10.0.0.2, recognised by cookie: its network namespace

Egress of shop/client: allowed by shop/out egress[0]
  Enforced:   by the pod's node: ask the agent there
  Mode:       enforce
  Fail mode:  closed
  RULE                 PEER   PORT
  shop/out egress[0]   yes    yes

Ingress of shop/web: refused: policies select it, and no rule of theirs matches
  Enforced:   by this node
  Mode:       enforce
  Fail mode:  open
  Kernel:     denied by set 7, class 3; agrees
  RULE                  PEER                                    PORT
  shop/deny             no rules
  shop/web ingress[0]   no                                      yes
  shop/web ingress[1]   yes                                     no
  shop/web              left out: spec.ingress[2]: is missing
"
    );
    assert_eq!(
        answered.exit, 0,
        "that a flow is refused is no failure of the question"
    );
}

#[test]
fn drift_is_said_and_fails() {
    let mut explained = denied();
    explained.drift = true;
    let kernel = KernelAnswer {
        says: Looked::Allowed,
        set: 7,
        class: 3,
        rule: Some(12),
        rule_name: Some("shop/web ingress[1]".into()),
        audited: true,
        ..KernelAnswer::default()
    };
    explained.flows[0].ingress.kernel = Some(kernel);
    let answered = answer(explained, Format::Table).unwrap();
    assert_eq!(answered.exit, 1);
    for line in [
        "  Kernel:     allowed by rule 12 (shop/web ingress[1]), set 7, class 3, in audit mode; DRIFT\n",
        "\nDrift: the kernel says something else than the policies. If that stays so, keep a `meshctl sysdump` and \
         restart mesh-agent\n",
    ] {
        assert!(answered.text.contains(line), "{}", answered.text);
    }
}

#[test]
fn every_word_has_its_sentence() {
    let side = |says, exempt| SideAnswer {
        says,
        exempt,
        judge: Judge::Nobody,
        unenforced: Some("host-network".into()),
        audited: true,
        ..SideAnswer::default()
    };
    for (says, exempt, sentence) in [
        (
            Says::NoPod,
            None,
            "Egress of x: nobody's policies: it is no pod\n",
        ),
        (
            Says::Exempt,
            Some(Exempt::Host),
            "Egress of x: exempt: this node's own sockets reach its pods\n",
        ),
        (
            Says::Exempt,
            Some(Exempt::Itself),
            "Egress of x: exempt: a pod reaches itself\n",
        ),
        (Says::Open, None, "Egress of x: open: no policy selects it\n"),
        (
            Says::Isolated,
            None,
            "  Enforced:   no: not in the mesh: host-network\n",
        ),
        (
            Says::Isolated,
            None,
            "  Mode:       audit: what is refused passes, and is reported\n",
        ),
    ] {
        let text = side_text("Egress", "x", &side(says, exempt));
        assert!(text.contains(sentence), "{text}");
    }
    let kernel = |says, no_room| KernelAnswer {
        says,
        no_room,
        ..KernelAnswer::default()
    };
    for (kernel, sentence) in [
        (
            kernel(Looked::Unknown, false),
            "nothing is known of the pod yet, so the fail mode decides; DRIFT",
        ),
        (
            kernel(Looked::Open, false),
            "open: the pod has no rules, not in audit mode; DRIFT",
        ),
        (
            kernel(Looked::Denied, true),
            "denied: the pod's rules found no room, not in audit mode; DRIFT",
        ),
    ] {
        assert_eq!(kernel_text(&kernel, &side(Says::Isolated, None)), sentence);
    }
    for (outcome, words) in [
        (Outcome::Audited, "passes, and is reported"),
        (Outcome::Unenforced, "passes, though policies refuse it"),
        (Outcome::Allowed, ": allowed\n"),
    ] {
        let mut explained = denied();
        explained.flows[0].verdict = outcome;
        let text = Told(explained).text();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn an_end_that_is_no_pod_says_what_it_is() {
    let end = |recognised_by, unsettled| EndAnswer {
        pod: None,
        address: "192.0.2.1".into(),
        recognised_by,
        unsettled,
    };
    assert_eq!(
        recognised(&end(Sight::Host, false)),
        "192.0.2.1, this node itself"
    );
    assert!(recognised(&end(Sight::Address, true)).ends_with("only rules for everybody apply"));
    assert_eq!(who(&end(Sight::Address, false)), "192.0.2.1");
}

#[test]
fn the_explanation_as_json() {
    let mut explained = denied();
    explained.flows[0].egress.policies.clear();
    explained.flows[0].ingress.policies.truncate(1);
    assert_eq!(
        answer(explained, Format::Json).unwrap().text,
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "PolicyExplanation",
  "from": "shop/client",
  "to": "shop/web:8080",
  "protocol": "TCP",
  "drift": false,
  "flows": [
    {
      "source": {
        "pod": "shop/client",
        "address": "10.0.0.1",
        "recognisedBy": "address"
      },
      "destination": {
        "pod": "shop/web",
        "address": "10.0.0.2",
        "recognisedBy": "cookie"
      },
      "port": 8080,
      "verdict": "denied",
      "egress": {
        "says": "allowed",
        "policies": [],
        "judge": "elsewhere",
        "audited": false,
        "failMode": "closed"
      },
      "ingress": {
        "says": "isolated",
        "policies": [
          {
            "policy": "shop/deny",
            "rules": []
          }
        ],
        "judge": "here",
        "audited": false,
        "failMode": "open",
        "kernel": {
          "says": "denied",
          "set": 7,
          "setPolicies": [
            "shop/deny",
            "shop/web"
          ],
          "class": 3,
          "audited": false,
          "noRoom": false,
          "agrees": true
        }
      }
    }
  ]
}
"#
    );
}

#[test]
fn a_name_alone_is_of_the_namespace() {
    let ask = |namespace: Option<&str>, from: &str, to: &str| {
        let args = ExplainArgs {
            from: from.into(),
            to: to.into(),
            protocol: Transport::Udp,
        };
        let query = query(&Scope::new(namespace.map(Into::into)), &args);
        query.map(|query| [query.from, query.to, query.protocol])
    };
    assert_eq!(
        ask(Some("shop"), "client", "web:80").unwrap(),
        ["shop/client", "shop/web:80", "UDP"]
    );
    assert_eq!(
        ask(Some("shop"), "10.0.0.1", "[fd00::1]:80").unwrap(),
        ["10.0.0.1", "[fd00::1]:80", "UDP"]
    );
    assert_eq!(
        ask(None, "shop/client", "service/shop/web:80").unwrap()[1],
        "service/shop/web:80"
    );
    for (from, to) in [("client", "shop/web:80"), ("shop/client", "shop/web")] {
        assert_eq!(ask(None, from, to).unwrap_err().exit(), 2, "{from} {to}");
    }
}
