//! The client's own name for a creator, from the request for a consent to every read.

use reqwest::Method;
use serde_json::{Value, json};

use crate::callback::{ALL, attribute, is_safe};
use crate::harness::{Answer, World, send};

async fn connect(world: &World, body: &Value) -> Answer {
    let (page, _) = world.begin(body).await;
    world.open(&world.allow(&page, ALL).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_is_wherever_the_creator_is() {
    let world = World::start().await;
    let own = "user 4711 \"<script>&'=#\u{1f600}";
    let redirect = "https://app.example.com/done";
    let answer = connect(&world, &json!({"externalRef": own, "redirectUrl": redirect})).await;
    is_safe(&answer);
    let id = attribute(&answer, "creator-id");
    assert_eq!(attribute(&answer, "external-ref"), own);
    let encoded: String = url::form_urlencoded::byte_serialize(own.as_bytes()).collect();
    assert_eq!(attribute(&answer, "next"), format!("{redirect}?status=connected&creatorId={id}&externalRef={encoded}"));
    assert!(!answer.text.contains("<script>&"), "{}", answer.text);
    let path = format!("/api/v1/creators/{id}");
    assert_eq!(world.client.get(&path).await.data(200)["externalRef"], own);
    assert_eq!(world.client.get(&format!("{path}/profile")).await.data(200)["externalRef"], own);
    assert_eq!(world.client.get("/api/v1/creators").await.data(200)[0]["externalRef"], own);
    let found = world.client.get(&format!("/api/v1/creators?externalRef={encoded}")).await;
    assert_eq!(found.data(200)[0]["id"], id);
    let sync = world.client.request(Method::POST, &format!("{path}/sync")).header("prefer", "respond-async");
    let job = send(sync).await.header("location").expect("a job").to_owned();
    assert_eq!(world.client.get(&job).await.data(200)["externalRef"], own);
    for other in ["user%204711", "", "%25"] {
        let none = world.client.get(&format!("/api/v1/creators?externalRef={other}")).await;
        assert_eq!(none.data(200), &json!([]), "{other}");
    }
    assert_eq!(
        world.stranger().await.get(&format!("/api/v1/creators?externalRef={encoded}")).await.data(200),
        &json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_again_changes_the_ref_or_keeps_it() {
    let world = World::start().await;
    for (body, expected) in [
        (json!({}), Value::Null),
        (json!({"externalRef": "one"}), json!("one")),
        (json!({"externalRef": null}), json!("one")),
        (json!({"externalRef": "two"}), json!("two")),
    ] {
        connect(&world, &body).await;
        let list = world.client.get("/api/v1/creators").await;
        assert_eq!(list.data(200).as_array().expect("a list").len(), 1);
        assert_eq!(list.data(200)[0]["externalRef"], expected, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_who_declines_is_named_too() {
    let world = World::start().await;
    let body = json!({"externalRef": "4711", "redirectUrl": "https://app.example.com/"});
    let (page, _) = world.begin(&body).await;
    let answer = world.open(&world.answer_consent(&page, &[("action", "cancel")]).await).await;
    assert!(attribute(&answer, "next").ends_with("?status=failed&reason=access_denied&externalRef=4711"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_is_a_line_of_255_characters() {
    let world = World::start().await;
    for good in ["x".repeat(255), "\u{1f600}".repeat(255), " a b ".to_owned(), "\u{1f468}\u{200d}\u{1f469}".to_owned()]
    {
        world.client.post_json("/api/v1/connect/tiktok", &json!({"externalRef": good})).await.data(200);
    }
    let texts = [
        "",
        "a\nb",
        "a\u{0}b",
        "\u{9f}",
        " ",
        "\u{a0}\u{3000}",
        "a\u{fffd}b",
        "a\u{202e}b",
        "a\u{200b}b",
        "\u{feff}a",
        "a\u{2028}b",
    ];
    for wrong in texts.map(|text| json!(text)).into_iter().chain([json!("x".repeat(256)), json!(5), json!({})]) {
        let answer = world.client.post_json("/api/v1/connect/tiktok", &json!({"externalRef": wrong})).await;
        assert_eq!(answer.error(400), "invalid_request", "{wrong}");
        assert!(answer.message().starts_with("externalRef: "), "{}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_can_be_changed_without_a_new_consent() {
    let world = World::start().await;
    let path = format!("/api/v1/creators/{}", world.creator("open-1").await);
    let change = async |body: Value| send(world.client.request(Method::PATCH, &path).json(&body)).await;
    for (body, expected) in [
        (json!({"externalRef": "one"}), json!("one")),
        (json!({"resyncEvery": "6h", "other": 1}), json!("one")),
        (json!({"externalRef": "two", "resyncEvery": "off"}), json!("two")),
        (json!({"externalRef": null}), Value::Null),
    ] {
        assert_eq!(change(body.clone()).await.data(200)["externalRef"], expected, "{body}");
        assert_eq!(world.client.get(&path).await.data(200)["externalRef"], expected, "{body}");
    }
    assert_eq!(world.client.get(&path).await.data(200)["resyncEvery"], "off");
    for wrong in [json!(""), json!("a\u{fffd}"), json!(5)] {
        let refused = change(json!({"externalRef": wrong, "resyncEvery": "1h"})).await;
        assert_eq!(refused.error(400), "invalid_request");
        assert!(refused.message().starts_with("externalRef: "), "{}", refused.message());
    }
    assert_eq!(world.client.get(&path).await.data(200)["resyncEvery"], "off", "nothing of a refused change is done");
    let theirs = world.stranger().await.request(Method::PATCH, &path).json(&json!({"externalRef": "mine"}));
    assert_eq!(send(theirs).await.error(404), "not_found");
    assert_eq!(world.client.get(&path).await.data(200)["externalRef"], Value::Null);
}
