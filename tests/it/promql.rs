//! As much of Prometheus's query language as the dashboard and the alert rules use
//! (<https://prometheus.io/docs/prometheus/latest/querying/basics/>). It answers which labels a query's result has, and refuses
//! what Prometheus refuses, metrics and labels that the table does not have, and what makes no sense: a rate of a gauge, a
//! comparison of series that can never match.

use std::collections::BTreeSet;

use crate::metrics::{LabelValues, Table, allowed, base, label_values};

pub type Labels = BTreeSet<String>;

/// What an expression is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Scalar,
    /// `vector(0)`: it has no labels, and stands in for anything.
    Constant,
    Vector(Labels),
    /// Series over a time, and whether they only rise.
    Range(Labels, bool),
}

/// A query's value.
pub fn check(query: &str, table: &Table) -> Result<Value, String> {
    let mut parser = Parser { tokens: tokens(query)?, at: 0, table, values: label_values() };
    let value = parser.expression(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(rest) => Err(format!("`{rest}` after the end of `{query}`")),
    }
}

/// Words, numbers, texts with their quotes, and signs.
fn tokens(query: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '$');
        let end = if first == '"' {
            rest[1..].find('"').ok_or_else(|| format!("a text without an end in `{query}`"))? + 2
        } else if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else if ["=~", "!~", "!=", "==", ">=", "<="].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else if "(){}[],=<>+-*/".contains(first) {
            1
        } else {
            return Err(format!("`{first}` in `{query}`"));
        };
        tokens.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    table: &'a Table,
    values: Vec<LabelValues>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Result<String, String> {
        let token = self.tokens.get(self.at).cloned().ok_or("the query ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn want(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("no `{token}` but {:?}", self.peek())) }
    }

    /// Binary operators that bind at least as tightly as `least`, by Prometheus's precedence.
    fn expression(&mut self, least: u8) -> Result<Value, String> {
        let mut left = self.primary()?;
        while let Some((operator, binds)) = self.peek().and_then(|token| Some((token.to_owned(), binding(token)?))) {
            if binds < least {
                break;
            }
            self.at += 1;
            let on = if self.take("on") { Some(self.labels()?) } else { None };
            let right = self.expression(binds + 1)?;
            left = combined(&operator, left, right, on)?;
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<Value, String> {
        let token = self.next()?;
        if token == "(" {
            let value = self.expression(0)?;
            self.want(")")?;
            return Ok(value);
        }
        if token.parse::<f64>().is_ok() {
            return Ok(Value::Scalar);
        }
        match token.as_str() {
            "sum" | "max" | "min" => self.aggregate(),
            "rate" | "increase" | "min_over_time" => self.over_time(&token),
            "histogram_quantile" => self.quantile(),
            "clamp_min" | "clamp_max" => {
                let (vector, scalar) = self.two()?;
                if scalar != Value::Scalar {
                    return Err(format!("{token} by {scalar:?}"));
                }
                Ok(vector)
            }
            "vector" => match self.one()? {
                Value::Scalar => Ok(Value::Constant),
                other => Err(format!("a vector of {other:?}")),
            },
            name => self.selector(name),
        }
    }

    fn one(&mut self) -> Result<Value, String> {
        self.want("(")?;
        let value = self.expression(0)?;
        self.want(")")?;
        Ok(value)
    }

    fn two(&mut self) -> Result<(Value, Value), String> {
        self.want("(")?;
        let first = self.expression(0)?;
        self.want(",")?;
        let second = self.expression(0)?;
        self.want(")")?;
        Ok((first, second))
    }

    fn aggregate(&mut self) -> Result<Value, String> {
        let by = if self.take("by") { self.labels()? } else { Labels::new() };
        let of = match self.one()? {
            Value::Vector(of) => of,
            other => return Err(format!("an aggregate of {other:?}")),
        };
        match by.difference(&of).next() {
            Some(label) => Err(format!("by {label}, which is not among {of:?}")),
            None => Ok(Value::Vector(by)),
        }
    }

    fn over_time(&mut self, function: &str) -> Result<Value, String> {
        match self.one()? {
            Value::Range(labels, rises) if rises == (function != "min_over_time") => Ok(Value::Vector(labels)),
            other => Err(format!("{function} of {other:?}")),
        }
    }

    fn quantile(&mut self) -> Result<Value, String> {
        match self.two()? {
            (Value::Scalar, Value::Vector(mut labels)) if labels.contains("le") => {
                labels.remove("le");
                Ok(Value::Vector(labels))
            }
            other => Err(format!("a quantile of {other:?}: are the buckets there?")),
        }
    }

    fn selector(&mut self, name: &str) -> Result<Value, String> {
        let of_the_scrape = ["job", "instance"].map(str::to_owned);
        let (mut labels, kind) = if name == "up" {
            (Labels::new(), "gauge")
        } else {
            let (metric, _) = self.table.get(&base(name, self.table)).ok_or(format!("no metric is named {name}"))?;
            let is_series = name != base(name, self.table);
            if (metric.kind == "histogram") != is_series {
                return Err(format!("{name} is no series of a {}", metric.kind));
            }
            (metric.labels.clone(), metric.kind.as_str())
        };
        labels.extend(of_the_scrape);
        if name.ends_with("_bucket") {
            labels.insert("le".to_owned());
        }
        if self.take("{") {
            self.matchers(name, &labels)?;
        }
        if !self.take("[") {
            return Ok(Value::Vector(labels));
        }
        let time = self.next()?;
        self.want("]")?;
        let is_a_time = humantime::parse_duration(&time).is_ok() || time == "$__rate_interval";
        if is_a_time { Ok(Value::Range(labels, kind != "gauge")) } else { Err(format!("`{time}` is no time")) }
    }

    fn matchers(&mut self, name: &str, labels: &Labels) -> Result<(), String> {
        loop {
            let label = self.next()?;
            if !labels.contains(&label) {
                return Err(format!("{name} has no label {label}"));
            }
            let sign = self.next()?;
            if !["=", "!=", "=~", "!~"].contains(&sign.as_str()) {
                return Err(format!("`{sign}` after the label {label}"));
            }
            let text = self.next()?;
            let values = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or("a label's text")?;
            let known = allowed(&self.values, &base(name, self.table), &label);
            if known.is_some_and(|known| !values.split('|').all(|value| known.contains(value))) {
                return Err(format!("{label} of {name} is never {values}"));
            }
            if self.take("}") {
                return Ok(());
            }
            self.want(",")?;
        }
    }

    fn labels(&mut self) -> Result<Labels, String> {
        self.want("(")?;
        let mut labels = Labels::new();
        while !self.take(")") {
            labels.insert(self.next()?);
            if self.peek() != Some(")") {
                self.want(",")?;
            }
        }
        Ok(labels)
    }
}

/// How tightly an operator binds, if it is one.
fn binding(token: &str) -> Option<u8> {
    match token {
        "or" => Some(0),
        "and" | "unless" => Some(1),
        "==" | "!=" | ">" | "<" | ">=" | "<=" => Some(2),
        "+" | "-" => Some(3),
        "*" | "/" => Some(4),
        _ => None,
    }
}

/// What comes of two values. Two vectors have something in common only if they have the same labels, or those of `on`.
fn combined(operator: &str, left: Value, right: Value, on: Option<Labels>) -> Result<Value, String> {
    let wrong = |left: &Value, right: &Value| Err(format!("{left:?} {operator} {right:?} has never a result"));
    match (left, right) {
        (Value::Range(..), _) | (_, Value::Range(..)) => Err(format!("`{operator}` on a range")),
        (Value::Vector(left), Value::Vector(right)) => {
            let fits = match &on {
                Some(on) => on.is_subset(&left) && on.is_subset(&right),
                None => left == right,
            };
            if !fits {
                return wrong(&Value::Vector(left), &Value::Vector(right));
            }
            let is_arithmetic = binding(operator) >= Some(3);
            Ok(Value::Vector(on.filter(|_| is_arithmetic).unwrap_or(left)))
        }
        (vector @ Value::Vector(_), _) | (_, vector @ Value::Vector(_)) => Ok(vector),
        (constant @ Value::Constant, _) | (_, constant @ Value::Constant) => Ok(constant),
        (Value::Scalar, Value::Scalar) => Ok(Value::Scalar),
    }
}

#[test]
fn queries_that_are_wrong_are_refused() {
    let table = crate::metrics::table();
    let labels = |names: &[&str]| Value::Vector(names.iter().map(|name| (*name).to_owned()).collect());
    let of = |query: &str| check(query, &table);
    assert_eq!(of("max by (lane) (metriqlab_queue_oldest_seconds{lane=~\"sync|bulk\"}) > 30"), Ok(labels(&["lane"])));
    assert_eq!(of("max(metriqlab_redis_up) == 1 and min(up{job=\"x\"}) == 0"), Ok(labels(&[])));
    let quantile = "histogram_quantile(0.95, sum by (le, lane) (rate(metriqlab_jobs_wait_seconds_bucket[5m])))";
    assert_eq!(of(quantile), Ok(labels(&["lane"])));
    for wrong in [
        "max(metriqlab_no_such_metric)",
        "max(metriqlab_redis_up",
        "max(metriqlab_redis_up))",
        "metriqlab_redis_up ==",
        "metriqlab_redis_up{lane=\"sync\"}",
        "metriqlab_queue_oldest_seconds{lane=~\"sync|slow\"}",
        "metriqlab_queue_oldest_seconds{lane=sync}",
        "metriqlab_queue_jobs{state=\"retrying\"}",
        "metriqlab_postgres_connections{state=\"running\"}",
        "metriqlab_jobs_finished_total{kind=\"fetch\"}",
        "metriqlab_jobs_finished_total{outcome=\"dead\"}",
        "metriqlab_jobs_run_seconds_sum{outcome!=\"ok\"}",
        "metriqlab_budget_waiting{class=~\"interactive|slow\"}",
        "metriqlab_breaker_open{endpoint=\"token\"}",
        "max by (endpoint) (metriqlab_queue_oldest_seconds)",
        "sum(rate(metriqlab_redis_up[5m]))",
        "sum(rate(metriqlab_queue_pushed_total))",
        "sum(rate(metriqlab_queue_pushed_total[often]))",
        "min_over_time(metriqlab_queue_pushed_total[5m])",
        "sum(metriqlab_queue_pushed_total[5m])",
        "rate(metriqlab_jobs_wait_seconds[5m])",
        "metriqlab_redis_up_bucket",
        "histogram_quantile(0.95, sum by (lane) (rate(metriqlab_jobs_wait_seconds_bucket[5m])))",
        "histogram_quantile(0.95, sum by (le) (rate(metriqlab_jobs_wait_seconds_sum[5m])))",
        "sum by (lane) (metriqlab_queue_jobs) / sum by (state) (metriqlab_queue_jobs)",
        "max(metriqlab_redis_up) and on (instance) metriqlab_redis_up",
        "average(metriqlab_redis_up)",
        "metriqlab_redis_up ; metriqlab_redis_up",
    ] {
        assert!(of(wrong).is_err(), "`{wrong}` is let through as {:?}", of(wrong));
    }
}
