//! The dashboard and the alert rules: that they can be read, and that their queries have results.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value as Json;

use crate::metrics::{repository, table};
use crate::promql::{Labels, Value, check};

fn text(file: &str) -> String {
    std::fs::read_to_string(repository().join(file)).expect(file)
}

/// The labels of a query's series; a query that is wrong fails the test.
fn labels(whose: &str, query: &str) -> Labels {
    match check(query, &table()).unwrap_or_else(|error| panic!("{whose}: {error}")) {
        Value::Vector(labels) => labels,
        Value::Constant => Labels::new(),
        other => panic!("{whose}: {other:?} is nothing to show"),
    }
}

/// What stands between `{{` and `}}`.
fn fields(text: &str) -> Vec<&str> {
    let parts = text.split("{{").skip(1);
    parts.map(|part| part.split_once("}}").unwrap_or_else(|| panic!("no end: {text}")).0.trim()).collect()
}

#[test]
fn every_panel_of_the_dashboard_has_queries_and_its_legends_have_their_labels() {
    let board: Json = serde_json::from_str(&text("deploy/grafana/metriqlab.json")).expect("JSON");
    let (mut ids, mut queries) = (BTreeSet::new(), 0);
    for panel in board["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is another's");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let labels = labels(title, target["expr"].as_str().expect("a query"));
            for field in fields(target["legendFormat"].as_str().expect("a legend")) {
                assert!(labels.contains(field), "{title}: the legend's {field} is not among {labels:?}");
            }
            queries += 1;
        }
    }
    assert!(queries > 30, "{queries}");
}

#[derive(Debug, Default)]
struct Rule {
    name: String,
    query: String,
    severity: String,
    summary: String,
    runbook: String,
}

/// Reads the rules as they are written here, which is a small part of YAML: what it does not know fails. A quoted text is one
/// of JSON's, and a plain one has no sign that YAML would take for something else.
fn rules() -> Vec<Rule> {
    let text = text("deploy/prometheus/alerts.yml");
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    assert_eq!(lines.next(), Some("groups:"));
    let plain = |text: &str| {
        assert!(text.starts_with(|first: char| first.is_ascii_alphanumeric()), "{text}");
        assert!(!text.contains(": ") && !text.contains(" #") && !text.ends_with([':', ' ']), "{text}");
        text.to_owned()
    };
    let quoted = |text: &str| serde_json::from_str::<String>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut rules: Vec<Rule> = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(group) = line.strip_prefix("  - name: ") {
            plain(group);
            assert_eq!(lines.next(), Some("    rules:"));
            continue;
        }
        if let Some(name) = line.strip_prefix("      - alert: ") {
            rules.push(Rule { name: plain(name), ..Rule::default() });
            continue;
        }
        let rule = rules.last_mut().expect("a rule");
        let (key, value) = line.trim_start().split_once(':').unwrap_or_else(|| panic!("{line}"));
        let (deep, value) = (line.len() - line.trim_start().len(), value.trim_start());
        match (deep, key) {
            (8, "expr") if value == "|" => {
                while let Some(more) = lines.next_if(|line| line.starts_with("          ")) {
                    rule.query += more.trim();
                    rule.query.push(' ');
                }
            }
            (8, "expr") => rule.query = plain(value),
            (8, "for") => assert!(humantime::parse_duration(value).is_ok(), "{line}"),
            (8, "labels") => {
                let severity = value.strip_prefix("{severity: ").and_then(|value| value.strip_suffix('}'));
                rule.severity = plain(severity.unwrap_or_else(|| panic!("{line}")));
            }
            (8, "annotations") => assert_eq!(value, ""),
            (10, "summary") => rule.summary = quoted(value),
            (10, "runbook") => rule.runbook = quoted(value),
            _ => panic!("not understood: {line}"),
        }
    }
    rules
}

#[test]
fn every_alert_can_fire_and_says_what_to_do() {
    let rules = rules();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert!(rules.len() >= 15 && names.len() == rules.len(), "{names:?}");
    let known = table();
    for Rule { name, query, severity, summary, runbook } in &rules {
        assert!(["page", "ticket"].contains(&severity.as_str()), "{name}: {severity}");
        assert!(!summary.is_empty() && !runbook.is_empty(), "{name}");
        let labels = labels(name, query);
        for field in fields(summary) {
            let label = field.strip_prefix("$labels.").or_else(|| field.strip_prefix("$value").map(|_| ""));
            let label = label.unwrap_or_else(|| panic!("{name}: {field}"));
            assert!(label.is_empty() || labels.contains(label), "{name}: {label} is not among {labels:?}");
        }
        // The runbooks name metrics and alerts, too.
        for word in runbook.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
            assert!(!word.starts_with("metriqlab_") || known.contains_key(word), "{name}: no metric is named {word}");
            assert!(!word.starts_with("Metriqlab") || names.contains(word), "{name}: no alert is named {word}");
        }
    }
}

#[test]
fn prometheus_loads_the_rules_and_scrapes_both_kinds_of_processes_under_the_names_that_the_rules_have() {
    let (settings, compose) = (text("deploy/prometheus/prometheus.yml"), text("docker-compose.yml"));
    assert!(settings.contains("\nrule_files:\n  - alerts.yml\n"), "{settings}");
    assert!(rules().iter().any(|rule| rule.query == "up{job=~\"metriqlab-.*\"} == 0"));
    for (process, port, said) in
        [("api", "8080", "127.0.0.1:8080:8080"), ("worker", "9090", "METRICS_BIND: 0.0.0.0:9090")]
    {
        let found = format!("names: [{process}]\n        type: A\n        port: {port}\n");
        let scrape = format!("\n  - job_name: metriqlab-{process}\n    dns_sd_configs:\n      - {found}");
        assert!(settings.contains(&scrape), "{scrape} is not in {settings}");
        let service = compose.split_once(&format!("\n  {process}:\n")).expect("the service").1;
        assert!(service.split("\n\n").next().expect("its part").contains(said), "{process}");
    }
}

/// Prometheus's own word on the files. Its package is large, so it is not installed for this.
#[test]
fn promtool_takes_the_rules_and_the_settings_where_it_is_installed() {
    for (check, file) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
        let file = repository().join("deploy/prometheus").join(file);
        match Command::new("promtool").arg("check").arg(check).arg(file).output() {
            Ok(said) => assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr)),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                eprintln!("promtool is not here, and was not asked");
            }
        }
    }
}
