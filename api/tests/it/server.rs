//! What holds for every answer, and the server's own life.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Options, World, eventually, send};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_an_id_and_security_headers() {
    let world = World::start().await;
    for (path, status) in [
        ("/api/v1/creators", 200),
        ("/api/v1/nothing", 404),
        ("/healthz", 200),
        ("/nothing", 404),
        ("/oauth/tiktok/callback", 400),
        ("/openapi.json", 200),
    ] {
        let answer = world.client.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 36), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
        if path.starts_with("/api") {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        }
        assert!(answer.header("access-control-allow-origin").is_none(), "CORS is off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sane_request_id_is_kept_and_another_replaced() {
    let world = World::start().await;
    let long = "x".repeat(128);
    for sane in ["a", "Req-1_2.3", &long] {
        for path in ["/api/v1/creators", "/api/v1/nothing"] {
            let answer = send(world.client.request(Method::GET, path).header("x-request-id", sane)).await;
            assert_eq!(answer.header("x-request-id"), Some(sane));
        }
    }
    let longer = "x".repeat(129);
    for wrong in ["", "a b", "a/b", "<script>", "a,b", &longer] {
        let answer = send(world.client.request(Method::GET, "/api/v1/creators").header("x-request-id", wrong)).await;
        assert!(answer.header("x-request-id").is_some_and(|id| id != wrong && id.len() == 36), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_a_get_without_its_body() {
    let world = World::start().await;
    for path in ["/healthz", "/api/v1/creators", "/api/v1/creators?limit=1", "/api/v1/nothing"] {
        let get = world.client.get(path).await;
        let head = send(world.client.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    assert_eq!(send(world.client.bare(Method::HEAD, "/api/v1/creators")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body_either_with_another_request_behind_it() {
    let world = World::start().await;
    world.add_creators(3).await;
    let key = &world.client.key;
    for path in ["/api/v1/creators", "/api/v1/creators?limit=1", "/api/v1/nothing"] {
        let address = world.base.trim_start_matches("http://").to_owned();
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
        let both = format!(
            "HEAD {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n\
             GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(both.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read to the end");
        let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 "), "{answer}");
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\nok\n"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_the_same_however_it_is_written() {
    let world = World::start().await;
    let answer = world.client.get("/%61pi/v1/creators").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, Some("no-store")));
    let put = send(world.client.request(Method::PUT, "/%61pi/v1/creators")).await;
    assert_eq!((put.error(405), put.header("allow")), ("method_not_allowed", Some("GET, HEAD")));
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_the_given_origins_may_call() {
    let world = World::with(Options { cors: Some("https://app.example.com"), ..Options::default() }).await;
    let origin = |method, path| world.client.bare(method, path).header("origin", "https://app.example.com");
    let preflight = origin(Method::OPTIONS, "/api/v1/creators")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-api-key,prefer,traceparent");
    let preflight = send(preflight).await;
    assert_eq!(preflight.status, 200, "{}", preflight.text);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example.com"));
    let allowed = preflight.header("access-control-allow-headers").expect("headers").to_ascii_lowercase();
    assert!(allowed.contains("x-api-key") && allowed.contains("prefer"), "{allowed}");
    assert!(preflight.header("x-request-id").is_some());
    let answer = send(origin(Method::GET, "/api/v1/creators").header("x-api-key", &world.client.key)).await;
    answer.data(200);
    let exposed = answer.header("access-control-expose-headers").expect("headers").to_ascii_lowercase();
    for name in ["x-request-id", "location", "retry-after", "ratelimit-remaining"] {
        assert!(exposed.contains(name), "{name} of {exposed}");
    }
    let refused = send(origin(Method::GET, "/api/v1/creators")).await;
    assert_eq!(refused.error(401), "missing_api_key");
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://app.example.com"),
        "so that it can be read"
    );
    assert_eq!(refused.header("www-authenticate"), Some("ApiKey header=\"x-api-key\""));
    let foreign = world.client.bare(Method::OPTIONS, "/api/v1/creators").header("origin", "https://evil.example.com");
    let foreign = send(foreign.header("access-control-request-method", "GET")).await;
    assert_eq!(foreign.error(400), "invalid_request");
    assert!(foreign.header("access-control-allow-origin").is_none());
    let foreign = world.client.request(Method::GET, "/api/v1/creators").header("origin", "https://evil.example.com");
    assert!(send(foreign).await.header("access-control-allow-origin").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_who_waits_and_refuses_who_comes() {
    let world = World::with(Options { sync_wait: "60s", ..Options::default() }).await;
    let creator = world.creator("open-1").await;
    let (client, path) = (world.client.clone(), format!("/api/v1/creators/{creator}/sync"));
    let waiting = tokio::spawn(async move { client.post(&path).await });
    let sql = world.sql().await;
    eventually("the sync to be queued", || async {
        let open = "SELECT 1 FROM jobs WHERE finished_at IS NULL";
        sql.query_opt(open, &[]).await.expect("rows")
    })
    .await;
    // Long before the minute that it would have waited.
    let began = Instant::now();
    world.api.stop().await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(waiting.await.expect("an answer").data(202)["synced"], false);
    assert!(world.client.http.get(&world.base).send().await.is_err(), "nobody listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_request_is_let_go() {
    let world = World::start().await;
    let address = world.base.trim_start_matches("http://").to_owned();
    let mut head = tokio::net::TcpStream::connect(&address).await.expect("connected");
    head.write_all(b"GET /api/v1/creators HTTP/1.1\r\nhost: x\r\nx-slow: ").await.expect("sent");
    let mut body = tokio::net::TcpStream::connect(&address).await.expect("connected");
    let request = format!(
        "POST /api/v1/connect/tiktok HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{",
        world.client.key
    );
    body.write_all(request.as_bytes()).await.expect("sent");
    for mut stream in [head, body] {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("the connection is closed").expect("read");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_that_nobody_reads_holds_no_connection() {
    let world = World::start().await;
    let address = world.base.trim_start_matches("http://").to_owned();
    let key = &world.client.key;
    for (path, headers, status) in [
        ("/api/v1/connect/tiktok", String::new(), 401),
        ("/api/v1/connect/tiktok", format!("x-api-key: {key}\r\ncontent-type: application/json\r\n"), 413),
        ("/nothing", String::new(), 404),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}transfer-encoding: chunked\r\n\r\n");
        // Its end never comes.
        let chunks = format!("4000\r\n{}\r\n", " ".repeat(0x4000)).repeat(5);
        // A server that has answered already may not take the rest.
        let _ = stream.write_all(format!("{head}{chunks}").as_bytes()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the connection is closed");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{path}: {answer}");
    }
    // One that comes to its end leaves the connection to the next request.
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
    let both = format!(
        "POST /api/v1/connect/tiktok HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n\
         GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(both.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read to the end");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
}

/// What the server's parser refuses never reaches the app: a bare status, and the connection is closed. `docs/errors` says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_answered_by_a_bare_status() {
    let world = World::start().await;
    let address = world.base.trim_start_matches("http://").to_owned();
    let key = &world.client.key;
    let get = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{header}\r\n");
    for (request, status) in [
        (get("/api/v1/creators?externalRef=\u{e9}", ""), "400"),
        (get("/api/v1/creators?externalRef=a\"b", ""), "400"),
        (get("/api/v1/creators?externalRef=a<b", ""), "400"),
        (get("/api/v1/creators", "content-length: 1\r\ncontent-length: 2\r\n"), "400"),
        (get("/api/v1/creators", &format!("x-long: {}\r\n", "x".repeat(200_000))), "431"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
        // A server that has answered already may not take the rest.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("a status");
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{}", &request[..60]);
    }
    for encoded in ["%C3%A9", "a%22b", "a%3Cb"] {
        world.client.get(&format!("/api/v1/creators?externalRef={encoded}")).await.data(200);
    }
}
