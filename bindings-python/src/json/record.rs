//! What a JSON text says, found outside of the interpreter: [`build`](super::build) only has to make objects of it.
//!
//! Objects of a stream mostly have the same keys in the same order, and often the same strings. So the keys of an object
//! are not recorded with it, but as its shape: a node of a tree in which each node is reached from its parent by a key.
//! What stood there last time is looked for first.

use std::ops::Range;

use bytes::Bytes;
use jiter::Jiter;

/// Deeper values are left to Python's own parser, which knows how deep is too deep.
const MAX_DEPTH: usize = 200;
/// More ways to go on from one node, or more nodes in all, mean that keys are data, and not the names of fields.
const MAX_BRANCHES: usize = 16;
const MAX_SHAPES: usize = 4096;
/// The shape of `{}`, where every other one begins.
pub(super) const ROOT: u32 = 0;

/// A JSON array of messages, and their values in the order in which they stand in it.
pub(crate) struct Recording {
    pub(super) text: Bytes,
    pub(super) messages: usize,
    pub(super) values: Vec<Value>,
    pub(super) shapes: Vec<Shape>,
    /// Strings that had escapes, without them.
    unescaped: String,
}

/// One value; what it contains follows it.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer of more than 64 bits, in the text.
    Long(Span),
    String(Span),
    /// A string that may come again at this key of this shape.
    New(Span),
    /// The last `New` at this key of this shape.
    Again,
    Array {
        len: u32,
    },
    /// The values of the keys of this shape, in order; then so many more keys, each with its value.
    Object {
        shape: u32,
        more: u32,
    },
}

/// A piece of the text, or of what is unescaped: that counts on from the text's end.
#[derive(Clone, Copy)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Recorded texts are shorter than 2 GiB, and what is unescaped is shorter than before.
    fn new(range: Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Keys in their order: those of the parent, and one more.
pub(super) struct Shape {
    pub(super) parent: u32,
    /// In the text, with its quotes.
    quoted: Span,
    /// The key.
    pub(super) key: Span,
    /// Objects that have exactly these keys.
    pub(super) objects: u32,
    /// The string that stood at this key last, with its quotes.
    last: Option<Span>,
    /// Those with one more key; the last one that was met comes first.
    children: Vec<u32>,
}

impl Shape {
    fn new(parent: u32, quoted: Span, key: Span) -> Self {
        Self { parent, quoted, key, objects: 0, last: None, children: Vec::new() }
    }
}

impl Recording {
    /// Of a text that is known to be a JSON array in UTF-8, as a batch of a JSON stream is. `None` if Python's own parser
    /// should see it: it has lone surrogates, is nested deeply or is very long.
    pub(crate) fn of(text: Bytes) -> Option<Self> {
        i32::try_from(text.len()).ok()?;
        let nothing = Span::new(0..0);
        let mut recorder = Recorder {
            text: &text,
            at: 0,
            // One for each 12 bytes is what is found in most texts.
            values: Vec::with_capacity(text.len() / 12),
            shapes: vec![Shape::new(ROOT, nothing, nothing)],
            unescaped: String::new(),
            depth: 0,
        };
        if !recorder.take(b'[')? {
            return None;
        }
        let messages = recorder.items()?;
        let Recorder { values, shapes, unescaped, .. } = recorder;
        Some(Self { messages, values, shapes, unescaped, text })
    }

    /// The bytes of a string.
    pub(super) fn string(&self, span: Span) -> &[u8] {
        let Range { start, end } = span.range();
        match start.checked_sub(self.text.len()) {
            Some(start) => &self.unescaped.as_bytes()[start..end - self.text.len()],
            None => &self.text[start..end],
        }
    }
}

/// Walks through the text. Its grammar was checked before: it is not here to find faults, but must not panic at any.
struct Recorder<'t> {
    text: &'t [u8],
    at: usize,
    values: Vec<Value>,
    shapes: Vec<Shape>,
    unescaped: String,
    depth: usize,
}

impl Recorder<'_> {
    /// The next byte that is not white space, which stays the next.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Whether this byte comes next, which is then behind us.
    fn take(&mut self, byte: u8) -> Option<bool> {
        let taken = self.peek()? == byte;
        self.at += usize::from(taken);
        Some(taken)
    }

    /// Whether the text goes on with what stands there.
    fn comes_again(&self, span: Span) -> bool {
        self.text.get(self.at..).is_some_and(|rest| rest.starts_with(&self.text[span.range()]))
    }

    /// Of the object around it, `shape` is that of its key.
    fn value(&mut self, shape: u32) -> Option<()> {
        let value = match self.peek()? {
            b'"' => self.string_at(shape)?,
            b'{' => return self.nested(Self::object),
            b'[' => return self.nested(Self::array),
            b'n' => self.literal(Value::Null, 4),
            b't' => self.literal(Value::Bool(true), 4),
            b'f' => self.literal(Value::Bool(false), 5),
            _ => self.number()?,
        };
        self.values.push(value);
        Some(())
    }

    fn nested(&mut self, record: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.at += 1;
        record(self)?;
        self.depth -= 1;
        Some(())
    }

    fn literal(&mut self, value: Value, len: usize) -> Value {
        self.at += len;
        value
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        let mut is_integer = true;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'0'..=b'9' | b'-' => {}
                b'.' | b'e' | b'E' | b'+' => is_integer = false,
                _ => break,
            }
            self.at += 1;
        }
        let span = start..self.at;
        let digits = str::from_utf8(&self.text[span.clone()]).ok()?;
        if is_integer {
            return Some(digits.parse().map_or_else(|_| Value::Long(Span::new(span)), Value::Int));
        }
        Some(Value::Float(digits.parse().ok()?))
    }

    fn string_at(&mut self, shape: u32) -> Option<Value> {
        if let Some(last) = self.shapes[shape as usize].last
            && self.comes_again(last)
        {
            self.at += last.range().len();
            return Some(Value::Again);
        }
        let start = self.at;
        let string = self.string()?;
        if shape == ROOT {
            return Some(Value::String(string));
        }
        self.shapes[shape as usize].last = Some(Span::new(start..self.at));
        Some(Value::New(string))
    }

    fn string(&mut self) -> Option<Span> {
        let quote = self.at;
        let start = quote + 1;
        let mut end = start + plain_len(self.text.get(start..)?)?;
        if self.text[end] == b'"' {
            self.at = end + 1;
            return Some(Span::new(start..end));
        }
        while self.text[end] == b'\\' {
            end += 2;
            end += plain_len(self.text.get(end..)?)?;
        }
        self.at = end + 1;
        let begin = self.text.len() + self.unescaped.len();
        self.unescaped.push_str(Jiter::new(&self.text[quote..self.at]).next_str().ok()?);
        Some(Span::new(begin..self.text.len() + self.unescaped.len()))
    }

    fn array(&mut self) -> Option<()> {
        let opened = self.values.len();
        self.values.push(Value::Null);
        let len = self.items()? as u32;
        self.values[opened] = Value::Array { len };
        Some(())
    }

    /// What is left of an array after its bracket; says how many items that are.
    fn items(&mut self) -> Option<usize> {
        let mut len = 0;
        if !self.take(b']')? {
            loop {
                self.value(ROOT)?;
                len += 1;
                if !self.take(b',')? {
                    self.at += 1;
                    break;
                }
            }
        }
        Some(len)
    }

    fn object(&mut self) -> Option<()> {
        let opened = self.values.len();
        self.values.push(Value::Null);
        let (mut shape, mut more) = (ROOT, 0);
        if !self.take(b'}')? {
            loop {
                self.peek()?;
                let key = if more == 0 { self.key(shape)? } else { Err(self.string()?) };
                let of_value = match key {
                    Ok(longer) => {
                        shape = longer;
                        longer
                    }
                    Err(key) => {
                        more += 1;
                        self.values.push(Value::String(key));
                        ROOT
                    }
                };
                self.take(b':')?;
                self.value(of_value)?;
                if !self.take(b',')? {
                    self.at += 1;
                    break;
                }
            }
        }
        self.shapes[shape as usize].objects += 1;
        self.values[opened] = Value::Object { shape, more };
        Some(())
    }

    /// The shape with the key that comes, or the key alone when there are too many shapes.
    fn key(&mut self, parent: u32) -> Option<Result<u32, Span>> {
        let children = &self.shapes[parent as usize].children;
        let known = children.iter().position(|&child| self.comes_again(self.shapes[child as usize].quoted));
        if let Some(place) = known {
            let child = children[place];
            if place > 0 {
                self.shapes[parent as usize].children.swap(0, place);
            }
            self.at += self.shapes[child as usize].quoted.range().len();
            return Some(Ok(child));
        }
        let full = children.len() == MAX_BRANCHES || self.shapes.len() == MAX_SHAPES;
        let start = self.at;
        let key = self.string()?;
        if full {
            return Some(Err(key));
        }
        let child = self.shapes.len() as u32;
        self.shapes.push(Shape::new(parent, Span::new(start..self.at), key));
        self.shapes[parent as usize].children.push(child);
        Some(Ok(child))
    }
}

/// How many bytes of a string there are before its end or an escape.
fn plain_len(text: &[u8]) -> Option<usize> {
    text.iter().position(|&byte| byte == b'"' || byte == b'\\')
}
