//! The log: one line an event, for people or for machines, each with the ids of what it belongs to.

use std::fmt;
use std::io::IsTerminal as _;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::{EnvFilter, Layer};

use crate::settings::LogFormat;

/// Fields for the exporter of spans alone: kinds and states that are no news in a log.
const EXPORTED_ONLY: &str = "otel.";

/// A layer that writes to standard error.
///
/// Whatever the filter asks for, no secret gets into it: `tokio_postgres` writes the values of every statement at `debug`,
/// among them what a creator's consent hangs on, and so it has a level of its own that no setting lifts.
pub(super) fn layer<S>(format: LogFormat, filter: EnvFilter) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).fmt_fields(TextFields).boxed(),
        LogFormat::Json => layer.fmt_fields(JsonFields::new()).event_format(JsonLine).boxed(),
    };
    layer.with_filter(filter.and(filter_fn(shows_no_values).with_max_level_hint(LevelFilter::TRACE)))
}

fn shows_no_values(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("tokio_postgres") || *metadata.level() <= Level::INFO
}

/// An event as one JSON object: `timestamp`, `level` and `target` first, then the event's own fields (`message` among them)
/// and those of the spans around it, all at the top. An inner span's field goes before an outer one's of the same name, the
/// event's own before both.
struct JsonLine;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    target: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let written = extensions.get::<FormattedFields<JsonFields>>();
            // Anything but an object is a span without fields.
            let own = written.and_then(|written| serde_json::from_str::<Map<String, Value>>(written).ok());
            fields.extend(own.unwrap_or_default());
        }
        fields.retain(|name, _| !name.starts_with(EXPORTED_ONLY));
        event.record(&mut Values(&mut fields));
        let line = Line {
            timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
            level: event.metadata().level().as_str(),
            target: event.metadata().target(),
            fields,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// An event's fields as JSON.
struct Values<'a>(&'a mut Map<String, Value>);

impl Values<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Values<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Fields for people: `name=value`, the message bare.
struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = Text { writer, empty: true, result: Ok(()) };
        fields.record(&mut text);
        text.result
    }
}

struct Text<'writer> {
    writer: Writer<'writer>,
    empty: bool,
    result: fmt::Result,
}

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_err() || field.name().starts_with(EXPORTED_ONLY) {
            return;
        }
        let space = if self.empty { "" } else { " " };
        self.empty = false;
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{value:?}"),
            name => write!(self.writer, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{info_span, subscriber};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say() {
        let request =
            info_span!("request", request_id = "r-1", otel.kind = "server", creator_id = tracing::field::Empty);
        let _in_request = request.enter();
        request.record("creator_id", "c-1");
        let job = info_span!("job", job_id = "j-1", attempt = 2);
        let _in_job = job.enter();
        tracing::info!(took = 1.5, ok = true, attempt = 3, error = %"it broke", "a \"word\"\nin two lines");
    }

    #[test]
    fn a_line_of_json_has_the_ids_of_what_it_belongs_to_at_the_top() {
        let lines = Lines::default();
        let sink = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || sink.clone());
        let layer = layer.fmt_fields(JsonFields::new()).event_format(JsonLine);
        subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = lines.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert!(line.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "level": "INFO", "target": "shared::telemetry::log::tests", "message": "a \"word\"\nin two lines",
            "took": 1.5, "ok": true, "attempt": 3, "error": "it broke",
            "request_id": "r-1", "creator_id": "c-1", "job_id": "j-1",
        });
        assert_eq!(Value::Object(line), expected);
    }

    #[test]
    fn a_line_of_text_reads_well() {
        let lines = Lines::default();
        let sink = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || sink.clone());
        let layer = layer.with_ansi(false).fmt_fields(TextFields);
        subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = lines.text();
        let end = "INFO request{request_id=\"r-1\" creator_id=\"c-1\"}:job{job_id=\"j-1\" attempt=2}: \
                   shared::telemetry::log::tests: a \"word\"\nin two lines took=1.5 ok=true attempt=3 error=it broke\n";
        assert!(text.ends_with(end), "{text}");
    }
}
