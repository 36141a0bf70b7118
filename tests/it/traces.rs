//! One trace from a request through the queue to each call, as a collector of OpenTelemetry's gets it, and the log's lines
//! that belong to it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{System, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";

/// A span, and the service that it came from.
#[derive(Clone)]
struct Seen {
    service: String,
    span: Span,
}

impl Seen {
    fn id(&self) -> String {
        hex::encode(&self.span.span_id)
    }

    fn parent(&self) -> String {
        hex::encode(&self.span.parent_span_id)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|pair| pair.key == key)?.value.clone()?.value?;
    match value {
        AnyValue::StringValue(text) => Some(text),
        AnyValue::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

impl Collector {
    /// Takes OTLP over HTTP on a port of its own; gives the address.
    fn start(&self) -> String {
        let all = self.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(all.clone())).route("/v1/traces", web::post().to(take))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").expect("a port");
        let address = server.addrs()[0];
        tokio::spawn(server.run());
        format!("http://{address}")
    }

    /// The spans of the test's trace so far.
    fn trace(&self) -> Vec<Seen> {
        let all = self.0.lock().expect("the spans");
        all.iter().filter(|seen| hex::encode(&seen.span.trace_id) == TRACE).cloned().collect()
    }
}

async fn take(all: web::Data<Collector>, body: web::Bytes) -> HttpResponse {
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    for resource in request.resource_spans {
        let service = attribute(&resource.resource.expect("a resource").attributes, "service.name").expect("a name");
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.0.lock().expect("the spans").extend(spans.map(|span| Seen { service: service.clone(), span }));
    }
    HttpResponse::Ok().finish()
}

fn one<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let found: Vec<&Seen> = spans.iter().filter(|seen| seen.span.name == name).collect();
    let names: Vec<&str> = spans.iter().map(|seen| seen.span.name.as_str()).collect();
    assert_eq!(found.len(), 1, "{name} among {names:?}");
    found[0]
}

/// What a bulk resync is asked for by.
const ASKED: &str = "POST /api/v1/creators/sync";

/// The spans of that name that belong to a request.
fn of<'a>(spans: &'a [Seen], name: &str, request: &str) -> Vec<&'a Seen> {
    let is_of = |seen: &&Seen| seen.span.name == name && seen.attribute("request_id").as_deref() == Some(request);
    spans.iter().filter(is_of).collect()
}

/// The lines of a log in JSON that hold `key` = `value`.
fn lines(log: &str, key: &str, value: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.filter(|line| line[key] == value).collect()
}

/// A sync in a trace of its client's, by processes that have ended since.
struct Traced {
    creator: String,
    job: String,
    spans: Vec<Seen>,
    /// The logs of the API and the worker.
    logs: [String; 2],
}

impl Traced {
    async fn sync() -> Self {
        let collector = Collector::default();
        let mut system = System::builder()
            .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.start())
            .set("OTEL_BSP_SCHEDULE_DELAY", "600000")
            .set("METRIQLAB_LOG_FORMAT", "json")
            .start()
            .await;
        let creator = system.connect(&system.sandbox.user(25).await).await;
        system.settled().await;
        let request = system.client.patient(Method::POST, &format!("/api/v1/creators/{creator}/sync"));
        let request = request.header("traceparent", format!("00-{TRACE}-{CLIENTS_SPAN}-01"));
        system.client.send(request.header("x-request-id", "find-me")).await.data(200);
        let query = "SELECT id::text FROM jobs WHERE trace LIKE $1";
        let row = system.sql().await.query_one(query, &[&format!("00-{TRACE}-%")]).await.expect("the job");

        // The exporter's ten minutes are not over: what comes now comes with the end of the processes.
        assert!(collector.trace().is_empty());
        let (api, worker) = (&mut system.apis[0], &mut system.workers[0]);
        assert!(api.terminate().await.success() && worker.terminate().await.success());
        let logs = [system.apis[0].said(), system.workers[0].said()];
        Self { creator, job: row.get(0), spans: collector.trace(), logs }
    }

    /// Whether a process gave up on its last spans. It has three seconds for them, in which a machine may stand still.
    fn is_cut_off(&self) -> bool {
        self.logs.iter().any(|log| log.contains("the last spans were not exported"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_request_through_the_queue_to_each_call_and_so_do_the_logs() {
    let mut traced = Traced::sync().await;
    for _ in 0..2 {
        if traced.is_cut_off() {
            traced = Traced::sync().await;
        }
    }
    let Traced { creator: id, job, spans, logs: [api, worker] } = traced;

    let request = one(&spans, "POST /api/v1/creators/{id}/sync");
    assert_eq!((request.service.as_str(), request.parent()), ("metriqlab-api", CLIENTS_SPAN.to_owned()));
    let known = ["http.request.method", "http.response.status_code", "creator_id", "job_id", "request_id"];
    let told = known.map(|key| request.attribute(key).unwrap_or_default());
    assert_eq!(told, ["POST", "200", &id, &job, "find-me"]);
    for name in ["open_sync", "push"] {
        let span = one(&spans, name);
        assert_eq!((span.service.as_str(), span.parent()), ("metriqlab-api", request.id()), "{name}");
    }
    let run = one(&spans, "job sync");
    assert_eq!((run.service.as_str(), run.parent()), ("metriqlab-worker", request.id()));
    let known = ["job_id", "creator_id", "lane", "attempt", "outcome", "request_id"];
    let told = known.map(|key| run.attribute(key).unwrap_or_default());
    assert_eq!(told, [&job, &id, "sync", "1", "done", "find-me"]);
    for name in ["start_job", "sync_target", "tiktok user_info", "finish_sync"] {
        let span = one(&spans, name);
        assert_eq!((span.service.as_str(), span.parent()), ("metriqlab-worker", run.id()), "{name}");
    }
    let pages: Vec<&Seen> = spans.iter().filter(|seen| seen.span.name == "tiktok video_list").collect();
    assert_eq!(pages.len(), 2, "25 videos are two pages");
    assert!(pages.iter().all(|page| page.parent() == run.id() && page.attribute("outcome").as_deref() == Some("ok")));
    let permits = spans.iter().filter(|seen| seen.span.name == "permit");
    assert_eq!(permits.filter(|permit| pages.iter().any(|page| page.id() == permit.parent())).count(), 2);

    let asked = lines(&api, "request_id", "find-me");
    let last = asked.last().expect("a line of the request");
    assert_eq!(
        (&last["message"], &last["job_id"], &last["creator_id"]),
        (&"request".into(), &Value::from(job.as_str()), &id.as_str().into())
    );
    let done = lines(&worker, "job_id", &job);
    assert!(!done.is_empty(), "{worker}");
    for line in done {
        let of = ["request_id", "trace_id", "creator_id"].map(|key| line[key].as_str().unwrap_or_default());
        assert_eq!(of, ["find-me", TRACE, &id], "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_resync_leads_from_the_request_to_each_of_its_jobs() {
    let collector = Collector::default();
    let mut system = System::builder()
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.start())
        .set("METRIQLAB_LOG_FORMAT", "json")
        .set("METRIQLAB_RESYNC_EVERY", "off")
        .start()
        .await;
    let mut creators = Vec::new();
    for _ in 0..3 {
        creators.push(system.connect(&system.sandbox.user(1).await).await);
    }
    system.settled().await;
    // Of all creators, whose jobs the scheduler makes; and of one that is named, whose job is made at once.
    for (name, body) in [("all-of-them", json!({})), ("one-of-them", json!({"ids": [creators[0]]}))] {
        let request = system.client.request(Method::POST, "/api/v1/creators/sync").json(&body);
        let request = request.header("traceparent", format!("00-{TRACE}-{CLIENTS_SPAN}-01"));
        let asked = system.client.send(request.header("x-request-id", name)).await;
        let batch = asked.data(202)["batchId"].as_str().expect("a batch").to_owned();
        eventually("the batch has finished", async || {
            let read = system.client.get(&format!("/api/v1/batches/{batch}")).await;
            read.data(200)["finishedAt"].is_string().then_some(())
        })
        .await;
    }
    // The end of a process may cut its last spans off. They come every five seconds, too.
    let batches: [(&str, usize); 2] = [("all-of-them", 3), ("one-of-them", 1)];
    eventually("the collector has them all", async || {
        let spans = collector.trace();
        let has = |span: &str, name: &str, number: usize| of(&spans, span, name).len() >= number;
        batches.iter().all(|&(name, jobs)| has(ASKED, name, 1) && has("job sync", name, jobs)).then_some(())
    })
    .await;
    let (api, worker) = (&mut system.apis[0], &mut system.workers[0]);
    assert!(api.terminate().await.success() && worker.terminate().await.success());
    let spans = collector.trace();
    let log = system.workers[0].said();
    for (name, jobs) in batches {
        let asked = of(&spans, ASKED, name);
        assert_eq!((asked.len(), asked[0].parent()), (1, CLIENTS_SPAN.to_owned()), "{name}");
        let runs = of(&spans, "job sync", name);
        assert_eq!(runs.len(), jobs, "{name}");
        for run in runs {
            let told = ["lane", "outcome"].map(|key| run.attribute(key).unwrap_or_default());
            assert_eq!((run.parent(), told), (asked[0].id(), ["bulk", "done"].map(str::to_owned)), "{name}");
        }
        assert!(!lines(&log, "request_id", name).is_empty(), "{name}: {log}");
    }
}

/// Less than the ten seconds that a collector may take for one batch.
const STOPPED_WITHIN: Duration = Duration::from_secs(8);

/// How long the newest worker's stop takes, which has spans of a sync that no collector takes.
async fn stop_after_a_sync(system: &mut System, creator: &str) -> Duration {
    system.client.sync(creator).await;
    let stop = Instant::now();
    assert!(system.workers.last_mut().expect("a worker").terminate().await.success());
    stop.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_harms_nobody() {
    // A port that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let mut system = System::builder()
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .set("OTEL_BSP_SCHEDULE_DELAY", "10")
        .start()
        .await;
    let id = system.connect(&system.sandbox.user(1).await).await;
    let mut stops = vec![stop_after_a_sync(&mut system, &id).await];
    // A machine that stands still for a while shows nothing, and is asked again.
    while stops.iter().all(|took| *took >= STOPPED_WITHIN) && stops.len() < 3 {
        system.add_worker();
        stops.push(stop_after_a_sync(&mut system, &id).await);
    }
    let in_time = stops.iter().any(|took| *took < STOPPED_WITHIN);
    assert!(in_time, "a stop waits three seconds for the collector at most: {stops:?}");
    eventually("the API still answers", async || {
        let answer = system.client.get(&format!("/api/v1/creators/{id}")).await;
        (answer.status == 200).then_some(())
    })
    .await;
}
