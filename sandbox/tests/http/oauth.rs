//! Login Kit: what the consent page and the token endpoint refuse, and how tokens live and die.

use crate::support::{ALL, REDIRECT, Tester, body, param, quick, with};
use reqwest::Method;
use sandbox::{AppProfile, SandboxConfig};
use serde_json::{Value, json};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const HEX: &str = "13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3";
const BASE64URL: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn refused(tester: &Tester, extra: &[(&str, &str)], names: &str) {
    let response = tester.http.get(tester.authorize_url(extra)).send().await.unwrap();
    assert_eq!(response.status(), 400, "{extra:?}");
    assert!(response.headers().get("location").is_none());
    assert!(response.text().await.unwrap().contains(&format!("<code>{names}</code>")), "{extra:?}");
}

async fn first_code(tester: &Tester, extra: &[(&str, &str)]) -> String {
    let creator = tester.offered().await.remove(0);
    let form = [("creator", creator.as_str()), ("scope", "video.list"), ("action", "allow")];
    let back = tester.consent(&tester.authorize_url(extra), &form).await;
    param(&back, "code").unwrap()
}

#[tokio::test]
async fn a_wrong_request_gets_a_page_and_no_redirect() {
    let tester = quick();
    for (extra, names) in [
        (("client_key", "other"), "client_key"),
        (("client_key", ""), "client_key"),
        (("client_id", "sandbox-client-key"), "param_error"),
        (("redirect_uri", "https://evil.example/cb"), "redirect_uri"),
        (("redirect_uri", "http://127.0.0.1:4999/cb?x=1"), "redirect_uri"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "user.info.basic video.list"), "invalid_scope"),
        (("scope", "user.info.basic,video.publish"), "invalid_scope"),
        (("scope", ""), "invalid_scope"),
        (("disable_auto_auth", "yes"), "disable_auto_auth"),
        (("code_challenge_method", "S256"), "code_challenge"),
        (("code_challenge", HEX), "code_challenge_method"),
    ] {
        refused(&tester, &[extra], names).await;
    }
    tester.control(Method::PATCH, "/settings", json!({"approved_scopes": ["user.info.basic"]})).await;
    refused(&tester, &[], "invalid_scope").await;
}

#[tokio::test]
async fn a_creator_may_allow_a_part_nothing_or_cancel() {
    let tester = quick();
    let (page, creator) = (tester.authorize_url(&[]), tester.offered().await.remove(1));
    let part =
        [("creator", creator.as_str()), ("scope", "user.info.basic"), ("scope", "video.list"), ("action", "allow")];
    let back = tester.consent(&page, &part).await;
    assert_eq!(param(&back, "scopes").as_deref(), Some("user.info.basic,video.list"));
    let pair = tester.exchange(&param(&back, "code").unwrap()).await;
    assert_eq!(pair["scope"], "user.info.basic,video.list");

    let back = tester.consent(&page, &[("creator", &creator), ("action", "allow")]).await;
    assert_eq!(param(&back, "scopes").as_deref(), Some(""));

    let back = tester.consent(&page, &[("action", "cancel")]).await;
    assert_eq!(param(&back, "error").as_deref(), Some("access_denied"));
    assert_eq!(param(&back, "state").as_deref(), Some("s 1"));
    assert_eq!(param(&back, "code"), None);

    let narrow = tester.authorize_url(&[("scope", "user.info.basic")]);
    for form in [
        vec![("creator", creator.as_str()), ("scope", "video.list"), ("action", "allow")],
        vec![("creator", "nobody"), ("action", "allow")],
        vec![("creator", creator.as_str())],
    ] {
        assert_eq!(tester.http.post(&narrow).form(&form).send().await.unwrap().status(), 400, "{form:?}");
    }
}

#[tokio::test]
async fn auto_auth_skips_the_page_for_a_creator_who_is_signed_in() {
    let tester = quick();
    let creator = tester.offered().await.remove(0);
    let (page, auto) = (tester.authorize_url(&[]), tester.authorize_url(&[("disable_auto_auth", "0")]));
    let mut form = vec![("creator", creator.as_str()), ("action", "allow")];
    form.extend(ALL.split(',').map(|scope| ("scope", scope)));
    let response = tester.http.post(&page).form(&form).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    tester.exchange(&param(response.headers()["location"].to_str().unwrap(), "code").unwrap()).await;

    let status = |url: &str| tester.http.get(url).header("cookie", &cookie).send();
    assert_eq!(status(&auto).await.unwrap().status(), 302);
    assert_eq!(status(&page).await.unwrap().status(), 200);
    assert_eq!(tester.http.get(&auto).send().await.unwrap().status(), 200);
    tester.control(Method::POST, &format!("/users/{creator}/revoke"), json!({})).await;
    assert_eq!(status(&auto).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_token_endpoint_says_what_is_wrong_in_tiktok_s_words() {
    let tester = quick();
    let code = first_code(&tester, &[]).await;
    let good = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", REDIRECT)];
    let malformed = ("invalid_request", "The request parameters are malformed.");
    let mut cases = Vec::new();
    let creds = [("client_key", "sandbox-client-key"), ("client_secret", "sandbox-client-secret")];
    let without = |name: &str| {
        let all = creds.iter().chain(&good).copied();
        all.filter(|(field, _)| *field != name).collect::<Vec<_>>()
    };
    let replaced = |name: &'static str, value: &'static str| {
        let mut form = without(name);
        form.push((name, value));
        form
    };
    for missing in ["client_key", "grant_type", "code", "redirect_uri"] {
        cases.push((without(missing), malformed));
    }
    cases.push((without("client_secret"), ("invalid_request", "Client secret is missed in request.")));
    cases.push((replaced("client_secret", "x"), ("invalid_client", "Client key or secret is incorrect.")));
    cases.push((replaced("client_key", "x"), ("invalid_client", "Client key or secret is incorrect.")));
    cases.push((replaced("grant_type", "password"), ("unsupported_grant_type", "The grant type is not supported.")));
    let other = "Redirect_uri is not matched with the uri when requesting code.";
    cases.push((replaced("redirect_uri", "http://127.0.0.1:4999/cb/"), ("invalid_request", other)));
    cases.push((replaced("code", "made-up"), ("invalid_grant", "Authorization code is expired.")));
    cases.push((replaced("scope", "video.list"), malformed));
    for (form, (error, description)) in cases {
        let response = tester.http.post(tester.url("/v2/oauth/token/")).form(&form).send().await.unwrap();
        assert_eq!(response.status(), 200, "{form:?}");
        let answer = body(response).await;
        assert_eq!((&answer["error"], &answer["error_description"]), (&json!(error), &json!(description)), "{form:?}");
        assert_eq!(answer["log_id"].as_str().unwrap().len(), 34);
    }
    let as_json = tester.http.post(tester.url("/v2/oauth/token/")).json(&json!({"code": code})).send().await.unwrap();
    assert_eq!(body(as_json).await["error"], "invalid_request");

    // None of these spent the code; two good calls do, once.
    assert!(tester.exchange(&code).await["access_token"].is_string());
    assert_eq!(tester.exchange(&code).await["error_description"], "Authorization code is expired.");
    for status in [400, 401] {
        tester.control(Method::PATCH, "/settings", json!({"oauth_error_status": status})).await;
        assert_eq!(tester.token(&good).await.status(), status);
    }
}

#[tokio::test]
async fn a_code_lives_five_minutes() {
    let tester = quick();
    let (early, late) = (first_code(&tester, &[]).await, first_code(&tester, &[]).await);
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 290})).await;
    assert!(tester.exchange(&early).await["access_token"].is_string());
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 20})).await;
    assert_eq!(tester.exchange(&late).await["error"], "invalid_grant");
}

async fn with_verifier(tester: &Tester, code: &str, verifier: Option<&str>) -> Value {
    let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
    form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    body(tester.token(&form).await).await
}

#[tokio::test]
async fn a_challenge_is_verified() {
    let tester = quick();
    for challenge in [HEX, BASE64URL] {
        let extra = [("code_challenge", challenge), ("code_challenge_method", "S256")];
        let code = first_code(&tester, &extra).await;
        for wrong in [None, Some("x"), Some(BASE64URL)] {
            let answer = with_verifier(&tester, &code, wrong).await;
            assert_eq!(answer["error_description"], "Code verifier or code challenge is invalid.");
        }
        assert!(with_verifier(&tester, &code, Some(VERIFIER)).await["access_token"].is_string());
    }
    refused(&tester, &[("code_challenge", HEX), ("code_challenge_method", "plain")], "code_challenge_method").await;
}

#[tokio::test]
async fn a_desktop_app_needs_hex() {
    let tester = with(SandboxConfig {
        app_profile: AppProfile::Desktop,
        any_loopback_redirect: false,
        redirect_uris: vec!["http://127.0.0.1:*/cb".to_owned()],
        ..SandboxConfig::default()
    });
    refused(&tester, &[], "code_challenge").await;
    refused(&tester, &[("code_challenge", BASE64URL), ("code_challenge_method", "S256")], "code_challenge").await;
    refused(&tester, &[("redirect_uri", "http://127.0.0.1/cb")], "redirect_uri").await;
    let extra = [("code_challenge", HEX), ("code_challenge_method", "S256")];
    let page = tester.authorize_url(&extra);
    let creators = tester.control(Method::GET, "/users", Value::Null).await;
    let creator = creators["users"][0]["open_id"].as_str().unwrap();
    let back = tester.consent(&page, &[("creator", creator), ("action", "allow")]).await;
    let code = param(&back, "code").unwrap();
    assert_eq!(with_verifier(&tester, &code, None).await["error"], "invalid_request");
    assert!(with_verifier(&tester, &code, Some(VERIFIER)).await["access_token"].is_string());
}
