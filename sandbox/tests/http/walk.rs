//! The way of a creator through the app: consent, tokens, profile, videos, revocation.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{ALL, PROFILE_FIELDS, body, param, quick, with};
use sandbox::{Sandbox, SandboxConfig};
use serde_json::json;
use tokio::net::TcpStream;

#[tokio::test]
async fn connect_read_and_revoke() {
    let tester = quick();
    let creators = tester.offered().await;
    assert_eq!(creators.len(), 24);
    let page = tester.authorize_url(&[]);
    let mut form = vec![("creator", creators[3].as_str()), ("action", "allow")];
    form.extend(ALL.split(',').map(|scope| ("scope", scope)));
    let back = tester.consent(&page, &form).await;
    assert!(back.starts_with(crate::support::REDIRECT));
    assert_eq!(param(&back, "state").as_deref(), Some("s 1"));
    assert_eq!(param(&back, "scopes").as_deref(), Some(ALL));
    assert!(back.contains("*0%216410"), "{back}");

    let pair = tester.exchange(&param(&back, "code").unwrap()).await;
    assert_eq!(pair["open_id"], json!(creators[3]));
    assert_eq!((&pair["expires_in"], &pair["refresh_expires_in"]), (&json!(7_200), &json!(15_552_000)));
    assert_eq!((&pair["scope"], &pair["token_type"]), (&json!(ALL), &json!("Bearer")));
    let access = pair["access_token"].as_str().unwrap();

    let user = tester.user(access, PROFILE_FIELDS).await;
    assert_eq!(user["open_id"], json!(creators[3]));
    let videos = tester.walk(access, "id,create_time,view_count", 20).await;
    assert_eq!(user["video_count"], json!(videos.len()));
    assert!(videos.len() > 20);

    let revoked = tester.revoke(access).await;
    assert_eq!((revoked.status().as_u16(), body(revoked).await), (200, json!({})));
    let refused = tester.user_info(access, "open_id").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(body(refused).await["error"]["code"], "access_token_invalid");
    let dead = tester.refresh(pair["refresh_token"].as_str().unwrap()).await;
    assert_eq!(dead["error"], "invalid_grant");
    tester.sandbox.stop().await;
}

/// Starts one there. A connection that somebody else makes may have the port meanwhile, for a moment.
async fn start_at(addr: SocketAddr) -> Sandbox {
    let began = Instant::now();
    loop {
        match sandbox::start(SandboxConfig { bind: addr.to_string(), ..SandboxConfig::default() }) {
            Ok(sandbox) => return sandbox,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn it_stops_and_starts_again_at_its_address() {
    let first = quick();
    let addr = first.sandbox.addr();
    let (_, access) = first.creator(json!({})).await;
    assert_eq!(first.user_info(&access, "open_id").await.status(), 200);
    first.sandbox.stop().await;
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens there any more");
    let second = start_at(addr).await;
    assert_eq!(second.addr(), addr);
    let Err(error) = sandbox::start(SandboxConfig { bind: addr.to_string(), ..SandboxConfig::default() }) else {
        panic!("two sandboxes at one address");
    };
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn the_control_api_can_be_off() {
    let tester = with(SandboxConfig { control: false, ..SandboxConfig::default() });
    let response = tester.http.get(tester.url("/control/settings")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (404, "Unsupported path(Janus)"));
    assert_eq!(tester.offered().await.len(), 24);
}

#[tokio::test]
async fn the_control_api_takes_json_that_says_so() {
    let tester = quick();
    let clock = tester.http.post(tester.url("/control/clock")).body("{\"advance_seconds\": 1}").send().await.unwrap();
    assert_eq!(clock.status(), 400);
    assert_eq!(tester.http.get(tester.url("/control/nothing")).send().await.unwrap().status(), 404);
}
