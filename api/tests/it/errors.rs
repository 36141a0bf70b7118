//! Every row of the contract's table of errors that a request alone can bring about; the others are in `jobs`, `limits`
//! and `outage`.

use reqwest::Method;
use serde_json::json;
use shared::ids::CreatorId;

use crate::harness::{World, send};

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_name_the_field() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let videos = format!("/api/v1/creators/{creator}/videos");
    for (path, field) in [
        ("/api/v1/creators?limit=0".to_owned(), "limit"),
        ("/api/v1/creators?limit=501".to_owned(), "limit"),
        ("/api/v1/creators?limit=ten".to_owned(), "limit"),
        ("/api/v1/creators?limit=10&limit=20".to_owned(), "limit"),
        ("/api/v1/creators?limit=10&cursor=garbage".to_owned(), "cursor"),
        ("/api/v1/creators?cursor=garbage".to_owned(), "cursor"),
        ("/api/v1/creators?platform=MYSPACE".to_owned(), "platform"),
        ("/api/v1/creators?platform=tiktok".to_owned(), "platform"),
        ("/api/v1/creators?externalId=a%00b".to_owned(), "externalId"),
        ("/api/v1/creators?externalId=%ff".to_owned(), "externalId"),
        (format!("{videos}?limit=0"), "limit"),
        (format!("{videos}?limit=101"), "limit"),
        (format!("{videos}?limit=-1"), "limit"),
        (format!("{videos}?cursor=garbage"), "cursor"),
        (format!("{videos}?cursor=%00"), "cursor"),
    ] {
        let answer = world.client.get(&path).await;
        assert_eq!(answer.error(400), "invalid_request", "{path}");
        assert!(answer.message().starts_with(&format!("{field}: ")), "{path}: {}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_and_fields_are_ignored() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.client.get("/api/v1/creators?whatever=1&x=%00&limit=5").await.data(200);
    world.client.get(&format!("/api/v1/creators/{creator}/videos?cursor=&limit=20&_=1")).await.data(200);
    world.client.post_json("/api/v1/connect/tiktok", &json!({"other": [1], "redirectUrl": null})).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found() {
    let world = World::start().await;
    let unknown = CreatorId::new();
    let spelled = world.creator("open-1").await.to_string();
    for id in [
        unknown.to_string(),
        "nonsense".into(),
        "%00".into(),
        "%ff%fe".into(),
        "..".into(),
        "'; DROP TABLE creators; --".into(),
        "a".repeat(5_000),
        spelled.to_uppercase(),
        spelled.replace('-', ""),
        format!("{{{spelled}}}"),
        format!("urn:uuid:{spelled}"),
    ] {
        for path in
            [format!("/api/v1/creators/{id}"), format!("/api/v1/creators/{id}/profile"), format!("/api/v1/jobs/{id}")]
        {
            assert_eq!(world.client.get(&path).await.error(404), "not_found", "{path}");
        }
        assert_eq!(world.client.post(&format!("/api/v1/creators/{id}/sync")).await.error(404), "not_found");
        assert_eq!(world.client.delete(&format!("/api/v1/creators/{id}")).await.error(404), "not_found");
    }
    for path in ["/api/v1/creators/", "/api/v2/creators", "/api/v1", "/api/v1/creators//profile", "/api/v1/%2e%2e"] {
        assert_eq!(world.client.get(path).await.error(404), "not_found", "{path}");
    }
    for path in ["/nothing", "/apiary", "/oauth", "/favicon.ico"] {
        assert_eq!(send(world.client.bare(Method::GET, path)).await.error(404), "not_found", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_told_which_ones_there_are() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    for (method, path, allow) in [
        (Method::DELETE, "/api/v1/creators".to_owned(), "GET, HEAD"),
        (Method::PUT, format!("/api/v1/creators/{creator}"), "GET, HEAD, PATCH, DELETE"),
        (Method::PUT, "/api/v1/creators/sync".to_owned(), "POST"),
        (Method::GET, "/api/v1/creators/sync".to_owned(), "POST"),
        (Method::DELETE, "/api/v1/creators/sync".to_owned(), "POST"),
        (Method::POST, "/".to_owned(), "GET, HEAD"),
        (Method::DELETE, "/".to_owned(), "GET, HEAD"),
        (Method::POST, format!("/api/v1/creators/{creator}/profile"), "GET, HEAD"),
        (Method::GET, format!("/api/v1/creators/{creator}/sync"), "POST"),
        (Method::GET, "/api/v1/connect/tiktok".to_owned(), "POST"),
        (Method::from_bytes(b"BREW").expect("a method"), "/api/v1/creators".to_owned(), "GET, HEAD"),
        (Method::GET, "/webhooks/tiktok".to_owned(), "POST"),
        (Method::POST, "/oauth/tiktok/callback".to_owned(), "GET"),
        (Method::DELETE, "/healthz".to_owned(), "GET, HEAD"),
    ] {
        let answer = send(world.client.request(method.clone(), &path)).await;
        assert_eq!(answer.error(405), "method_not_allowed", "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_json_of_sixty_four_kibibytes() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let post = |body: String| {
        world
            .client
            .request(Method::POST, "/api/v1/connect/tiktok")
            .header("content-type", "application/json")
            .body(body)
    };
    for malformed in ["{", "nonsense", "[]", "5", "\"text\"", "{}{}", "{\"redirectUrl\": 5}", "{\"redirectUrl\": {}}"] {
        let answer = send(post(malformed.to_owned())).await;
        assert_eq!(answer.error(400), "invalid_request", "{malformed}");
    }
    let typed = send(post("{\"redirectUrl\": 5}".to_owned())).await;
    assert!(typed.message().starts_with("redirectUrl: "), "{}", typed.message());
    let padded = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    send(post(padded(64 * 1024))).await.data(200);
    let refused = send(post(padded(64 * 1024 + 1))).await;
    assert_eq!(refused.error(413), "payload_too_large");
    assert!(refused.message().contains("64 KiB"), "{}", refused.text);
    // Without a length beforehand, too.
    let chunks = futures::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    let streamed = world
        .client
        .request(Method::POST, "/api/v1/connect/tiktok")
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(send(streamed).await.error(413), "payload_too_large");
    for path in ["/api/v1/connect/tiktok".to_owned(), format!("/api/v1/creators/{creator}/sync")] {
        let latin = "application/json; charset=iso-8859-1";
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", latin] {
            let request = world.client.request(Method::POST, &path).header("content-type", content_type).body("{}");
            assert_eq!(send(request).await.error(415), "unsupported_media_type", "{content_type}");
        }
    }
    let compressed = post("{}".to_owned()).header("content-encoding", "gzip");
    assert_eq!(send(compressed).await.error(415), "unsupported_media_type");
    // No body is no wrong body, whatever it is called: `curl -X POST -d ''`.
    let empty = world.client.request(Method::POST, "/api/v1/connect/tiktok");
    send(empty.header("content-type", "application/x-www-form-urlencoded")).await.data(200);
    let charset = world.client.request(Method::POST, "/api/v1/connect/tiktok");
    send(charset.header("content-type", "Application/JSON; charset=utf-8").body("{}")).await.data(200);
}
