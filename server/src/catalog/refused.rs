//! Why the catalogue does not take something.

use pattoo_wire::{Header, SchemaId};
use thiserror::Error;

use super::stream::TooFarAhead;
use super::{MAX_GATEWAY_SERIES, MAX_GATEWAYS};

/// Why the catalogue does not take something. Nothing of it has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// The topic promises another content.
    #[error("gateway {gateway}: schema topic names {named}, the content is schema {found}; the gateway must publish it as {found}")]
    SchemaIdDiffers {
        /// Gateway.
        gateway: String,
        /// Id in the topic.
        named: SchemaId,
        /// Id of the content.
        found: SchemaId,
    },
    /// Two contents of one id.
    #[error("gateway {gateway}: schema {id} differs from an earlier one of the same id; change any label to give it another id")]
    SchemaContradicts {
        /// Gateway.
        gateway: String,
        /// Id.
        id: SchemaId,
    },
    /// No such schema yet.
    #[error("gateway {gateway}: batch {} needs schema {id}, which has not come; the gateway is asked for it", header.seq)]
    SchemaUnknown {
        /// Gateway.
        gateway: String,
        /// Id.
        id: SchemaId,
        /// Batch.
        header: Header,
    },
    /// Too far ahead of a missing batch.
    #[error("gateway {gateway}: {what}")]
    TooFarAhead {
        /// Gateway.
        gateway: String,
        /// Which.
        what: TooFarAhead,
    },
    /// Too many gateways.
    #[error("gateway {gateway} is new and the server has {MAX_GATEWAYS} already: it takes no more")]
    TooManyGateways {
        /// Gateway.
        gateway: String,
    },
    /// Too many series over all time.
    #[error("gateway {gateway} would get its {count}th series, at most {MAX_GATEWAY_SERIES} are kept: rename points and devices less")]
    TooManySeries {
        /// Gateway.
        gateway: String,
        /// Series it would have.
        count: usize,
    },
    /// Too many series of all gateways.
    #[error(
        "gateway {gateway} would bring the server to {count} series, at most {limit} are kept; `ingest: {{ max_series: … }}` lets it have more, at about 0.5 KiB of memory each"
    )]
    TooManySeriesInAll {
        /// Gateway.
        gateway: String,
        /// Series that there would be.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

impl Refused {
    /// The gateway that was refused something.
    #[must_use]
    pub fn gateway(&self) -> &str {
        match self {
            Self::SchemaIdDiffers { gateway, .. }
            | Self::SchemaContradicts { gateway, .. }
            | Self::SchemaUnknown { gateway, .. }
            | Self::TooFarAhead { gateway, .. }
            | Self::TooManyGateways { gateway }
            | Self::TooManySeries { gateway, .. }
            | Self::TooManySeriesInAll { gateway, .. } => gateway,
        }
    }
}
