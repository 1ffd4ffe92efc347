//! What went wrong, as the interface tells it.

use std::any::Any;

use lamplighter_client::error::{Class, Error};
use lamplighter_client::tree::TreeError;

use crate::types::*;

/// Code of the fault of a tree without settings.
pub(crate) const NOT_INSTALLED: &str = "E_NOT_INSTALLED";

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: i32,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Fault {
    /// A wrong argument, or a wrong moment.
    pub(crate) fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: LAMPLIGHTER_USAGE, code, message: message.into() }
    }

    /// A panic that was caught.
    pub(crate) fn panic(who: &str, payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        // A payload may be anything, and dropping it may panic again.
        std::mem::forget(payload);
        let message = format!("{who} panicked: {}", text.as_deref().unwrap_or("no text"));
        Self { status: LAMPLIGHTER_PANIC, code: "E_PANIC", message }
    }

    /// The struct of the interface.
    pub(crate) fn to_record(&self) -> LamplighterError {
        let may_retry = matches!(self.status, LAMPLIGHTER_NETWORK | LAMPLIGHTER_LOCKED);
        LamplighterError {
            size: 0,
            status: self.status,
            may_retry: u32::from(may_retry),
            reserved: 0,
            code: field(self.code),
            message: field(&self.message),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let status = match error.class() {
            Class::Other => LAMPLIGHTER_OTHER,
            Class::Usage => LAMPLIGHTER_USAGE,
            Class::Network => LAMPLIGHTER_NETWORK,
            Class::NotTrusted => LAMPLIGHTER_NOT_TRUSTED,
            Class::Damaged => LAMPLIGHTER_DAMAGED,
            Class::Disk => LAMPLIGHTER_DISK,
            Class::Locked => LAMPLIGHTER_LOCKED,
            Class::TooOld => LAMPLIGHTER_TOO_OLD,
            Class::Cancelled => LAMPLIGHTER_CANCELLED,
        };
        // A launcher asks first whether its app is there; that must not be mistaken for another wrong use.
        let not_installed = matches!(error, Error::NoSettings { .. } | Error::Tree(TreeError::NotATree { .. }));
        let code = if not_installed { NOT_INSTALLED } else { error.code() };
        Self { status, code, message: error.to_string() }
    }
}
