//! JSON answers that the host parses by itself, such as a browser: what it makes of one goes with the batch.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A parser of the host's that is faster than ours, such as `JSON.parse` ([`ReadOptions::array_parser`]).
///
/// It is given the text of one answer and gives what the text holds, if that is exactly one JSON array in UTF-8. For
/// anything else it gives nothing: then our own scanner looks at the text, and says what is wrong with it.
///
/// [`ReadOptions::array_parser`]: crate::ReadOptions::array_parser
#[derive(Clone)]
pub struct ArrayParser(Arc<Parse>);

type Parse = dyn Fn(&[u8]) -> Option<ParsedArray> + Send + Sync;

impl ArrayParser {
    /// A function as a parser. It must not panic.
    pub fn new(parse: impl Fn(&[u8]) -> Option<ParsedArray> + Send + Sync + 'static) -> Self {
        Self(Arc::new(parse))
    }

    pub(super) fn parse(&self, text: &[u8]) -> Option<ParsedArray> {
        (self.0)(text)
    }
}

impl fmt::Debug for ArrayParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArrayParser")
    }
}

/// What an [`ArrayParser`] made of an answer.
#[derive(Clone)]
pub struct ParsedArray {
    /// How many elements the array has.
    pub len: u64,
    /// The array, in a form that only the host knows.
    pub value: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for ParsedArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedArray").field("len", &self.len).finish_non_exhaustive()
    }
}
