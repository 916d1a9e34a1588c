//! Answers in JSON, and refusals in words.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::words::with_causes;

/// What a handler at the control socket gives.
pub type ApiResult = Result<Response, ApiRefusal>;

/// A request that is not granted; whoever asked gets the words as they are.
#[derive(Debug)]
pub struct ApiRefusal(pub String);

impl<E: std::error::Error> From<E> for ApiRefusal {
    fn from(error: E) -> Self {
        Self(with_causes(&error))
    }
}

/// A refusal on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RefusalBody {
    pub(super) error: String,
}

impl IntoResponse for ApiRefusal {
    fn into_response(self) -> Response {
        (StatusCode::CONFLICT, json(&RefusalBody { error: self.0 })).into_response()
    }
}

pub fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
