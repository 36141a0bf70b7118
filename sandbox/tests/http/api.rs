//! The Display API: what it answers, and what it refuses.

use std::collections::HashSet;

use crate::support::{PROFILE_FIELDS, Tester, body, quick};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn code(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let answer = body(response).await;
    (status, answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

fn invalid_params() -> (u16, String) {
    (400, "invalid_params".to_owned())
}

#[tokio::test]
async fn paths_and_methods_are_exact() {
    let tester = quick();
    for (method, path) in [
        (Method::GET, "/v2/user/info?fields=open_id"),
        (Method::POST, "/v2/user/info/?fields=open_id"),
        (Method::GET, "/v2/video/list/?fields=id"),
        (Method::POST, "/v2/video/list?fields=id"),
        (Method::GET, "/v2/oauth/token/"),
        (Method::POST, "/v2/oauth/token"),
        (Method::GET, "/v2/oauth/revoke/"),
        (Method::PUT, "/v2/auth/authorize/"),
        (Method::GET, "/"),
    ] {
        let response = tester.http.request(method.clone(), tester.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(response.text().await.unwrap(), "Unsupported path(Janus)");
    }
}

#[tokio::test]
async fn only_requested_fields_come_back_in_the_envelope() {
    let tester = quick();
    let (open_id, access) = tester.creator(json!({"videos": 3})).await;
    let response = tester.user_info(&access, "open_id,follower_count").await;
    let header = response.headers()["x-tt-logid"].to_str().unwrap().to_owned();
    let answer = body(response).await;
    assert_eq!(answer["error"]["code"], "ok");
    assert_eq!(answer["error"]["message"], "");
    let log_id = answer["error"]["log_id"].as_str().unwrap();
    assert_eq!((log_id.len(), log_id), (34, header.as_str()));
    assert!(log_id[..14].bytes().all(|byte| byte.is_ascii_digit()));
    let user = answer["data"]["user"].as_object().unwrap();
    assert_eq!(user.keys().collect::<Vec<_>>(), ["follower_count", "open_id"]);
    assert_eq!(user["open_id"], json!(open_id));

    let page = body(tester.list(&access, "id,create_time", json!({})).await).await;
    let video = page["data"]["videos"][0].as_object().unwrap();
    assert_eq!(video.keys().collect::<Vec<_>>(), ["create_time", "id"]);
    assert_eq!(video["id"].as_str().unwrap().len(), 19);
}

#[tokio::test]
async fn a_careless_request_is_refused() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 3})).await;
    let invalid = (401, "access_token_invalid".to_owned());
    let info = tester.url("/v2/user/info/?fields=open_id");
    assert_eq!(code(tester.http.get(&info).send().await.unwrap()).await, invalid);
    assert_eq!(code(tester.http.get(&info).header("authorization", &access).send().await.unwrap()).await, invalid);
    assert_eq!(code(tester.user_info("act.made-up", "open_id").await).await, invalid);

    for fields in ["", "open_id,email", "open_id, username", "openId"] {
        assert_eq!(code(tester.user_info(&access, fields).await).await, invalid_params(), "{fields:?}");
    }
    for query in ["", "?fields=open_id&fields=username", "?fields=open_id&x=1"] {
        let response = tester.http.get(tester.url(&format!("/v2/user/info/{query}"))).bearer_auth(&access).send().await;
        assert_eq!(code(response.unwrap()).await, invalid_params(), "{query}");
    }
    for paging in [
        json!({"max_count": 0}),
        json!({"max_count": 21}),
        json!({"max_count": "20"}),
        json!({"cursor": "1"}),
        json!({"cursor": -1}),
        json!({"cursor": null}),
        json!({"cursor": 1.5}),
        json!({"fields": "id"}),
        json!([]),
    ] {
        assert_eq!(code(tester.list(&access, "id", paging.clone()).await).await, invalid_params(), "{paging}");
    }
    assert_eq!(code(tester.list(&access, "id,email", json!({})).await).await, invalid_params());
    let list = tester.http.post(tester.url("/v2/video/list/?fields=id")).bearer_auth(&access);
    let form = list.try_clone().unwrap().form(&[("max_count", "20")]).send().await.unwrap();
    assert_eq!(code(form).await, invalid_params());
    assert_eq!(code(list.send().await.unwrap()).await, invalid_params());

    let many: Vec<String> = (0..21).map(|n| (7_512_345_678_901_234_567_u64 + n).to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(code(tester.query(&access, "id", &many).await).await, invalid_params());
    assert_eq!(code(tester.query(&access, "id", &[]).await).await, invalid_params());
    assert_eq!(code(tester.query(&access, "id", &["x"]).await).await, invalid_params());
}

#[tokio::test]
async fn scopes_decide_which_fields_there_are() {
    let tester = quick();
    let (open_id, _) = tester.creator(json!({"videos": 3})).await;
    let pair = tester.grant(&open_id, &["user.info.basic"]).await;
    let access = pair["access_token"].as_str().unwrap();
    let not_authorized = (401, "scope_not_authorized".to_owned());
    assert_eq!(tester.user_info(access, "open_id,display_name").await.status(), StatusCode::OK);
    assert_eq!(code(tester.user_info(access, PROFILE_FIELDS).await).await, not_authorized);
    assert_eq!(code(tester.list(access, "id", json!({})).await).await, not_authorized);
    assert_eq!(code(tester.query(access, "id", &["1"]).await).await, not_authorized);

    let set = async |mode: &str| tester.control(Method::PATCH, "/settings", json!({"missing_scope": mode})).await;
    set("permission_missed").await;
    assert_eq!(code(tester.user_info(access, PROFILE_FIELDS).await).await, (400, "scope_permission_missed".to_owned()));
    set("omit").await;
    let user = tester.user(access, PROFILE_FIELDS).await;
    assert_eq!(user.as_object().unwrap().keys().collect::<Vec<_>>(), ["display_name", "open_id"]);
}

async fn assert_walk_is_complete(tester: &Tester, access: &str, expected: usize) {
    for max_count in [20, 7] {
        let videos = tester.walk(access, "id,create_time", max_count).await;
        let ids: HashSet<&str> = videos.iter().map(|video| video["id"].as_str().unwrap()).collect();
        assert_eq!((videos.len(), ids.len()), (expected, expected));
        assert!(videos.is_sorted_by_key(|video| std::cmp::Reverse(video["create_time"].as_i64().unwrap())));
    }
}

#[tokio::test]
async fn walking_the_pages_shows_every_video_once_newest_first() {
    let tester = quick();
    for count in [0, 1, 20, 21, 137] {
        let (_, access) = tester.creator(json!({"videos": count})).await;
        assert_walk_is_complete(&tester, &access, count).await;
    }
    let (_, dense) = tester.creator(json!({"videos": 100, "spacing_seconds": 1})).await;
    assert_walk_is_complete(&tester, &dense, 100).await;
}

#[tokio::test]
async fn a_cursor_is_a_time_in_milliseconds_and_excluded() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 5})).await;
    let all = tester.walk(&access, "id,create_time", 20).await;
    let second = all[1]["create_time"].as_i64().unwrap();
    let ids = async |paging: Value| {
        let page = body(tester.list(&access, "id", paging).await).await;
        page["data"]["videos"].as_array().unwrap().iter().map(|video| video["id"].clone()).collect::<Vec<_>>()
    };
    let expected: Vec<Value> = all.iter().map(|video| video["id"].clone()).collect();
    assert_eq!(ids(json!({})).await, expected);
    assert_eq!(ids(json!({"cursor": second * 1000})).await, expected[2..]);
    assert_eq!(ids(json!({"cursor": second * 1000 + 1})).await, expected[1..]);
    assert_eq!(ids(json!({"cursor": 0})).await, expected[5..]);
    assert_eq!(ids(json!({"cursor": i64::MAX})).await, expected);
    let page = body(tester.list(&access, "id", json!({"max_count": 2})).await).await;
    assert_eq!((&page["data"]["cursor"], &page["data"]["has_more"]), (&json!(second * 1000), &json!(true)));
    let page = body(tester.list(&access, "id", json!({"max_count": 5})).await).await;
    assert_eq!(page["data"]["has_more"], json!(false));
}

#[tokio::test]
async fn the_default_page_has_ten_videos() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 30})).await;
    let page = body(tester.list(&access, "id", json!({})).await).await;
    assert_eq!(page["data"]["videos"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn videos_of_one_second_are_cut_at_the_edge_of_a_page() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 20, "per_second": 4})).await;
    assert_eq!(tester.walk(&access, "id", 20).await.len(), 20);
    // 6 = 4 + 2: the other two of the second are older than no cursor that comes.
    assert_eq!(tester.walk(&access, "id", 6).await.len(), 6 + 6 + 4);
    tester.control(Method::PATCH, "/settings", json!({"page_edge": "repeat"})).await;
    let repeated = tester.walk(&access, "id", 6).await;
    let ids: HashSet<String> = repeated.iter().map(|video| video["id"].to_string()).collect();
    assert_eq!(ids.len(), 20);
    assert!(repeated.len() > 20);
}

#[tokio::test]
async fn a_query_leaves_out_what_is_not_the_creator_s_or_not_public() {
    let tester = quick();
    let (open_id, access) = tester.creator(json!({"videos": 4})).await;
    let (_, other) = tester.creator(json!({"videos": 1})).await;
    let mine = tester.walk(&access, "id", 20).await;
    let foreign = tester.walk(&other, "id", 20).await;
    let id = |video: &Value| video["id"].as_str().unwrap().to_owned();
    let path = |video: &Value| format!("/users/{open_id}/videos/{}", id(video));
    tester.control(Method::DELETE, &path(&mine[0]), Value::Null).await;
    tester.control(Method::PATCH, &path(&mine[1]), json!({"hidden": true})).await;
    let asked: Vec<String> = mine.iter().chain(&foreign).map(id).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let found = body(tester.query(&access, "id,title", &asked).await).await;
    let found: Vec<_> = found["data"]["videos"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(found, [id(&mine[2]), id(&mine[3])]);
}

#[tokio::test]
async fn pictures_die_after_six_hours() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 1})).await;
    let avatar = tester.user(&access, "avatar_url").await["avatar_url"].as_str().unwrap().to_owned();
    let cover = tester.walk(&access, "cover_image_url", 1).await[0]["cover_image_url"].as_str().unwrap().to_owned();
    let status = async |url: &str| tester.http.get(url).send().await.unwrap().status().as_u16();
    assert_eq!((status(&avatar).await, status(&cover).await), (200, 200));
    assert_eq!(status(&cover.replace("x-expires=", "x-expires=9")).await, 403);
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 6 * 3600})).await;
    assert_eq!((status(&avatar).await, status(&cover).await), (403, 403));
}
