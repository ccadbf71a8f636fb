//! The bank's no, in Razorpay's words and shape.

use serde_json::{Value, json};

/// An error answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    code: &'static str,
    description: String,
    reason: &'static str,
    field: Option<String>,
}

impl Refusal {
    fn bad_request(description: impl Into<String>, reason: &'static str) -> Self {
        Self {
            status: 400,
            code: "BAD_REQUEST_ERROR",
            description: description.into(),
            reason,
            field: None,
        }
    }

    /// A field is missing or not what it should be.
    pub(super) fn field(field: &str, description: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::bad_request(description, "input_validation_failed")
        }
    }

    pub(super) fn body(description: impl Into<String>) -> Self {
        Self::bad_request(description, "input_validation_failed")
    }

    pub(super) fn unauthenticated() -> Self {
        Self {
            status: 401,
            ..Self::bad_request("Authentication failed", "authentication_failed")
        }
    }

    pub(super) fn unknown_id() -> Self {
        Self::bad_request("The id provided does not exist", "NA")
    }

    pub(super) fn other_body() -> Self {
        Self {
            field: Some("X-Payout-Idempotency".to_owned()),
            ..Self::bad_request(
                "Different request body sent for the same Idempotency Header.",
                "NA",
            )
        }
    }

    pub(super) fn not_pending() -> Self {
        Self::bad_request(
            "Payout is not in pending state and cannot be approved or rejected.",
            "payout_approval_not_allowed",
        )
    }

    pub(super) fn not_cancellable() -> Self {
        Self::bad_request(
            "Only payouts in queued or scheduled state can be cancelled.",
            "payout_cancellation_not_allowed",
        )
    }

    pub(super) fn low_balance() -> Self {
        Self::bad_request(
            "Your account does not have enough balance to carry out the payout operation.",
            "insufficient_funds",
        )
    }

    pub(super) fn no_such_page() -> Self {
        Self {
            status: 404,
            ..Self::bad_request("The requested URL was not found on the server.", "NA")
        }
    }

    /// The bank's own trouble: nothing was accepted.
    pub(super) fn trouble(status: u16) -> Self {
        Self {
            status,
            code: if status == 502 || status == 504 {
                "GATEWAY_ERROR"
            } else {
                "SERVER_ERROR"
            },
            description: "We are facing some trouble completing your request at the moment."
                .to_owned(),
            reason: "NA",
            field: None,
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut error = json!({
            "code": self.code,
            "description": self.description,
            "source": "business",
            "step": "NA",
            "reason": self.reason,
            "metadata": {},
        });
        if let Some(field) = &self.field {
            error["field"] = json!(field);
        }
        json!({ "error": error })
    }
}
