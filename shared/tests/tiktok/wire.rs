//! A server that answers the same bytes to every request, and what the client makes of bytes that no sandbox sends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::platforms::tiktok::TikTok;
use shared::platforms::{AccessToken, PlatformError, Scopes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::helpers::{ALL, caller, client, kind, settings_for};

pub struct Request {
    head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    }

    fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

pub struct Wire {
    pub base: String,
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Wire {
    /// Answers `answer`, whatever is asked.
    pub async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answer) = (sender.clone(), answer.clone());
                tokio::spawn(async move { serve(stream, &answer, &sender).await });
            }
        });
        Self { base, requests }
    }

    /// The next request that came.
    pub async fn next(&mut self) -> Request {
        tokio::time::timeout(Duration::from_secs(20), self.requests.recv()).await.unwrap().unwrap()
    }

    fn client(&self) -> TikTok {
        client(settings_for(&self.base))
    }
}

async fn serve(mut stream: TcpStream, answer: &[u8], sender: &mpsc::UnboundedSender<Request>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let mut request = Request { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end..].to_vec() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let _ = sender.send(request);
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn access() -> AccessToken {
    AccessToken("act.wire".into())
}

#[tokio::test]
async fn requests_are_what_tiktok_documents() {
    let mut wire = Wire::start(answer("200 OK", "", r#"{"data":{},"error":{"code":"ok"}}"#)).await;
    let tiktok = wire.client();
    let _ = tiktok.videos(&access(), None, &caller()).await;
    let list = wire.next().await;
    assert_eq!(
        list.line(),
        "POST /v2/video/list/?fields=id%2Ccreate_time%2Ctitle%2Cvideo_description%2Cshare_url%2Ccover_image_url\
         %2Cduration%2Cview_count%2Clike_count%2Ccomment_count%2Cshare_count HTTP/1.1"
    );
    assert_eq!(serde_json::from_slice::<Value>(&list.body).unwrap(), json!({"max_count": 20}));
    assert_eq!(list.header("content-type").unwrap(), "application/json");
    assert_eq!(list.header("authorization").unwrap(), "Bearer act.wire");
    assert!(list.header("user-agent").unwrap().starts_with("MetriqLab/"));

    let _ = tiktok.exchange_code("a*0!6410.b", Some(&"verifier".into())).await;
    let token = wire.next().await;
    assert_eq!(token.line(), "POST /v2/oauth/token/ HTTP/1.1");
    assert_eq!(token.header("content-type").unwrap(), "application/x-www-form-urlencoded");
    assert_eq!(token.header("authorization"), None);
    let form: Vec<(String, String)> = serde_urlencoded::from_bytes(&token.body).unwrap();
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("client_key", "sandbox-client-key"),
        ("client_secret", "sandbox-client-secret"),
        ("grant_type", "authorization_code"),
        ("code", "a*0!6410.b"),
        ("redirect_uri", "http://127.0.0.1:4999/cb"),
        ("code_verifier", "verifier"),
    ];
    assert_eq!(form, expected);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_nothing_is_sent_twice() {
    let mut elsewhere = Wire::start(answer("200 OK", "", "{}")).await;
    let location = format!("location: {}/\r\n", elsewhere.base);
    for status in ["302 Found", "307 Temporary Redirect"] {
        let mut wire = Wire::start(answer(status, &location, "")).await;
        let moved = wire.client().videos(&access(), None, &caller()).await;
        assert_eq!(kind(&moved), "unavailable", "{moved:?}");
        wire.next().await;
        assert!(wire.requests.try_recv().is_err() && elsewhere.requests.try_recv().is_err());
    }
    // Closed without an answer.
    let mut wire = Wire::start(Vec::new()).await;
    assert_eq!(kind(&wire.client().revoke(&access()).await), "unavailable");
    wire.next().await;
    assert!(wire.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_process_that_went_wrong_does_not_flood_the_oauth_endpoints() {
    let mut wire = Wire::start(answer("200 OK", "", "{}")).await;
    let tiktok = wire.client();
    let token = access();
    let began = Instant::now();
    let results = futures::future::join_all((0..200).map(|_| tiktok.revoke(&token))).await;
    let took = began.elapsed();
    let passed = results.iter().filter(|result| kind(result) != "no_budget").count();
    // Fifty at once, and ten in each of the two seconds for which a call waits; more only if this machine stands still.
    let most = 50 + 10 * (took.as_secs() + 1);
    assert!(u64::try_from(passed).unwrap() <= most, "{passed} in {took:?}");
    let mut sent = 0;
    while wire.requests.try_recv().is_ok() {
        sent += 1;
    }
    assert!(sent <= passed, "{sent}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let large = "x".repeat(5 * 1024 * 1024);
    let wire = Wire::start(answer("200 OK", "", &large)).await;
    let result = wire.client().profile(&access(), &Scopes::parse(ALL), &caller()).await;
    let Err(PlatformError::Unavailable { message, .. }) = result else { panic!("{result:?}") };
    assert!(message.contains("larger"), "{message}");
}

#[tokio::test]
async fn headers_tell_the_log_id_and_the_wait() {
    let headers = "x-tt-logid: 20261124083501A1\r\nretry-after: 7\r\n";
    let wire = Wire::start(answer("429 Too Many Requests", headers, "<html>slow down</html>")).await;
    let limited = wire.client().videos(&access(), None, &caller()).await.unwrap_err();
    let expected = PlatformError::RateLimited {
        retry_after: Some(Duration::from_secs(7)),
        log_id: Some("20261124083501A1".into()),
    };
    assert_eq!(limited, expected);
    assert_eq!(wire.client().revoke(&access()).await, Err(expected));
}

#[tokio::test]
async fn a_wrong_base_of_the_api_is_the_operator_s_fault() {
    let wire = Wire::start(answer("404 Not Found", "", "Unsupported path(Janus)")).await;
    let refused = wire.client().profile(&access(), &Scopes::parse(ALL), &caller()).await.unwrap_err();
    assert!(refused.to_string().contains("TIKTOK_API_URL"), "{refused}");
}
