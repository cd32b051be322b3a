//! Who may call what.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::routing::get;
use serde_json::json;

use super::{Lab, answer};
use crate::router::{Access, routes};

fn request(method: &str, path: &str, authorization: Option<&str>) -> Request<Body> {
    let path = path
        .replace("{project}", "orders")
        .replace("{environment}", "test")
        .replace("{run}", "0123abcd")
        .replace("{deployment}", "0123abcd")
        .replace("{unit}", "orders-test-0")
        .replace("{artifact}", "app")
        .replace("{stage}", "build");
    assert!(!path.contains('{'), "a placeholder of {path} is not filled in");
    let mut request = Request::builder().method(method).uri(path);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn every_route_but_health_and_hooks_needs_the_token() {
    let lab = Lab::new().await;
    let wrong = format!("Bearer {}x", lab.token);
    let bare = lab.token.clone();
    let basic = format!("Basic {}", lab.token);
    for route in routes() {
        for authorization in
            [None, Some("Bearer "), Some(wrong.as_str()), Some(&bare), Some(&basic)]
        {
            let answer = lab.send(request(route.method, route.path, authorization)).await;
            match route.access {
                Access::Admin => {
                    assert_eq!(
                        answer.status,
                        StatusCode::UNAUTHORIZED,
                        "{} {}",
                        route.method,
                        route.path
                    );
                    assert_eq!(answer.kind, "application/problem+json");
                }
                Access::Open => assert!(
                    route.path == "/healthz" || route.path.starts_with("/hooks/"),
                    "{} is open",
                    route.path
                ),
            }
        }
    }
}

#[tokio::test]
async fn with_the_token_every_route_answers_something_else_than_401() {
    let lab = Lab::new().await;
    let right = format!("Bearer {}", lab.token);
    for route in routes().into_iter().filter(|route| route.access == Access::Admin) {
        let answer = lab.send(request(route.method, route.path, Some(&right))).await;
        assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{} {}", route.method, route.path);
        assert!(
            !answer.status.is_server_error(),
            "{} {}: {}",
            route.method,
            route.path,
            answer.text
        );
    }
}

#[tokio::test]
async fn the_server_says_that_it_lives_to_everybody() {
    let lab = Lab::new().await;
    let answer = lab.send(request("GET", "/healthz", None)).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "status": "ok" })));
}

#[tokio::test]
async fn other_spellings_of_a_path_are_not_there() {
    let lab = Lab::new().await;
    for path in [
        "/api/v1/../v1/runs",
        "//api/v1/runs",
        "/api/v1/runs/",
        "/api/v1/runs;.jsp",
        "/API/v1/runs",
        "/",
    ] {
        let answer = lab.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text);
        assert_eq!(answer.kind, "application/problem+json", "{path}");
    }
    assert_eq!(
        lab.call("DELETE", "/api/v1/runs", None).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let lab = Lab::new().await;
    let answer = lab.get("/api/v1/projects/nobody").await;
    assert_eq!(
        answer.json(),
        json!({
            "type": "urn:shipline:problem:not-found", "title": "Not Found", "status": 404,
            "detail": "there is no project `nobody`", "code": "not-found",
        })
    );
    for (path, body) in [
        ("/api/v1/projects", json!({ "name": "a" })),
        ("/api/v1/projects", json!({ "name": "a", "git": "/x", "pole": "1s" })),
        ("/api/v1/projects", json!([])),
    ] {
        let answer = lab.post(path, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert_eq!(answer.kind, "application/problem+json");
    }
    assert_eq!(lab.get("/api/v1/runs?limit=many").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_handler_that_breaks_is_an_answer_and_the_server_lives() {
    let lab = Lab::new().await;
    let breaks = axum::Router::new().route("/", get(|| async { panic!("a secret") as &str }));
    let router = crate::router::guarded(breaks).with_state(lab.app);
    for _ in 0..2 {
        let answer = answer(router.clone(), request("GET", "/", None)).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.json()["code"], "internal");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
}
