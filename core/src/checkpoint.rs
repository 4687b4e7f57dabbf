//! Where a reader is, and how that is stored: one JSON object, the same for every language and for the command line.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::proto::offset::{Offset, ReadFrom};

/// Where a reader is, to be stored by the caller: an offset, and how far into the answer that starts there.
///
/// Its JSON form is `{"from":"<offset>","skip":0}`, with `incarnation` where it is known; `from` may be `-1` or `now`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Checkpoint {
    /// Where to ask again.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub from: ReadFrom,
    /// Messages (JSON) or bytes after `from` that were delivered already.
    #[serde(default)]
    pub skip: u64,
    /// Which incarnation of the stream this belongs to, where the server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

impl Checkpoint {
    /// The JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers have a JSON form")
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::invalid_argument(format!("not a checkpoint: {error}")).with_source(error))
    }
}

impl From<ReadFrom> for Checkpoint {
    fn from(from: ReadFrom) -> Self {
        Self { from, ..Self::default() }
    }
}

impl From<Offset> for Checkpoint {
    fn from(offset: Offset) -> Self {
        ReadFrom::At(offset).into()
    }
}

fn as_text<S: serde::Serializer>(from: &ReadFrom, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(from.as_str())
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<ReadFrom, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_its_json_form() {
        for checkpoint in [
            Checkpoint::default(),
            Checkpoint { from: Offset::new("0_7").unwrap().into(), skip: 3, incarnation: Some("x".into()) },
        ] {
            assert_eq!(Checkpoint::from_json(&checkpoint.to_json()).unwrap(), checkpoint);
        }
        assert_eq!(Checkpoint::from_json(r#"{"from":"0_7"}"#).unwrap(), Offset::new("0_7").unwrap().into());
        for garbage in ["", "{}", r#"{"from":""}"#, r#"{"from":"a b"}"#, r#"{"from":"0_7","skip":-1}"#] {
            assert!(Checkpoint::from_json(garbage).is_err(), "{garbage}");
        }
    }
}
