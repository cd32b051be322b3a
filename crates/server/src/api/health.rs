//! Whether the process lives.

use axum::Json;
use serde_json::{Value, json};

/// Says that requests are answered, and nothing about anything else.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
