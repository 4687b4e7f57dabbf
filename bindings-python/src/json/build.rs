//! Python objects of a [`Recording`], under the interpreter's lock and as fast as it lets them be made.

use std::ffi::CString;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::record::{ROOT, Recording, Span, Value};

/// Makes the messages of a recording, one after the other.
pub(crate) struct Builder {
    /// Where the next message begins in the values.
    next: usize,
    /// Messages that are to come.
    left: usize,
    /// What is known of each shape, by its number.
    forms: Vec<Form>,
}

/// What objects of one shape are made from.
struct Form {
    /// The last key.
    key: Py<PyAny>,
    /// The last string that stood there.
    last: Option<Py<PyAny>>,
    dict: Option<Blank>,
}

/// How dicts of one shape are made.
struct Blank {
    /// Shapes from the first key to the last.
    path: Vec<u32>,
    /// A dict with these keys: copying it is faster than putting the keys into an empty one. Not for a single dict.
    template: Option<Py<PyDict>>,
}

impl Builder {
    pub(crate) fn new(py: Python<'_>, recording: &Recording) -> PyResult<Self> {
        let form = |key| PyResult::Ok(Form { key: string(py, recording, key)?.unbind(), last: None, dict: None });
        let forms = recording.shapes.iter().map(|shape| form(shape.key)).collect::<PyResult<_>>()?;
        Ok(Self { next: 0, left: recording.messages, forms })
    }

    /// The next messages, at most so many; an empty list after the last one. `recording` is the same each time.
    ///
    /// # Errors
    /// When memory runs out; `ValueError` for an integer of more digits than Python takes.
    pub(crate) fn messages<'py>(
        &mut self,
        py: Python<'py>,
        recording: &Recording,
        most: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let _paused = CollectionPaused::new(py);
        let len = self.left.min(most);
        // After an error there is no going on.
        let left = std::mem::take(&mut self.left) - len;
        let messages = Making { py, recording, next: &mut self.next, forms: &mut self.forms }.list(len)?;
        self.left = left;
        Ok(messages)
    }
}

/// No garbage is looked for while this lives: all that is made is kept, and no Python code runs.
struct CollectionPaused<'py> {
    was_enabled: bool,
    _py: Python<'py>,
}

impl<'py> CollectionPaused<'py> {
    fn new(py: Python<'py>) -> Self {
        // SAFETY: the interpreter's lock is held, as `py` proves.
        Self { was_enabled: unsafe { ffi::PyGC_Disable() } == 1, _py: py }
    }
}

impl Drop for CollectionPaused<'_> {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: as above; `_py` lives as long as this.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}

struct Making<'py, 'a> {
    py: Python<'py>,
    recording: &'a Recording,
    next: &'a mut usize,
    forms: &'a mut [Form],
}

impl<'py> Making<'py, '_> {
    /// The next value; of the object around it, `shape` is that of its key.
    fn value(&mut self, shape: u32) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let value = self.recording.values[*self.next];
        *self.next += 1;
        Ok(match value {
            Value::Null => py.None().into_bound(py),
            Value::Bool(flag) => flag.into_pyobject(py)?.to_owned().into_any(),
            Value::Int(number) => number.into_pyobject(py)?.into_any(),
            Value::Float(number) => number.into_pyobject(py)?.into_any(),
            Value::Long(span) => integer(py, &self.recording.text[span.range()])?,
            Value::String(span) => string(py, self.recording, span)?,
            Value::New(span) => {
                let string = string(py, self.recording, span)?;
                self.forms[shape as usize].last = Some(string.clone().unbind());
                string
            }
            Value::Again => {
                let last = self.forms[shape as usize].last.as_ref();
                last.expect("a recording has a string before it repeats it").bind(py).clone()
            }
            Value::Array { len } => self.list(len as usize)?.into_any(),
            Value::Object { shape, more } => self.dict(shape, more)?.into_any(),
        })
    }

    fn list(&mut self, len: usize) -> PyResult<Bound<'py, PyList>> {
        // SAFETY: a new list, whose every item is set before anybody else sees it; `PyList_SetItem` takes the item over.
        unsafe {
            let list = Bound::from_owned_ptr_or_err(self.py, ffi::PyList_New(len as ffi::Py_ssize_t))?;
            for index in 0..len {
                let item = self.value(ROOT)?;
                if ffi::PyList_SetItem(list.as_ptr(), index as ffi::Py_ssize_t, item.into_ptr()) != 0 {
                    return Err(PyErr::fetch(self.py));
                }
            }
            Ok(list.cast_into_unchecked())
        }
    }

    fn dict(&mut self, shape: u32, more: u32) -> PyResult<Bound<'py, PyDict>> {
        // Taken out while it is in use: a value may be of the same shape.
        let blank = match self.forms[shape as usize].dict.take() {
            Some(blank) => blank,
            None => self.blank(shape)?,
        };
        let dict = match &blank.template {
            Some(template) => template.bind(self.py).copy()?,
            None => PyDict::new(self.py),
        };
        for &key in &blank.path {
            let value = self.value(key)?;
            dict.set_item(&self.forms[key as usize].key, value)?;
        }
        self.forms[shape as usize].dict = Some(blank);
        for _ in 0..more {
            let key = self.value(ROOT)?;
            let value = self.value(ROOT)?;
            dict.set_item(key, value)?;
        }
        Ok(dict)
    }

    fn blank(&self, shape: u32) -> PyResult<Blank> {
        let shapes = &self.recording.shapes;
        let mut path = Vec::new();
        let mut at = shape;
        while at != ROOT {
            path.push(at);
            at = shapes[at as usize].parent;
        }
        path.reverse();
        let mut template = None;
        if shapes[shape as usize].objects > 1 && shape != ROOT {
            let dict = PyDict::new(self.py);
            for &key in &path {
                dict.set_item(&self.forms[key as usize].key, self.py.None())?;
            }
            template = Some(dict.unbind());
        }
        Ok(Blank { path, template })
    }
}

fn string<'py>(py: Python<'py>, recording: &Recording, span: Span) -> PyResult<Bound<'py, PyAny>> {
    let text = recording.string(span);
    // SAFETY: the pointer and the length are of one slice, which outlives the call; what is not UTF-8 is an error.
    unsafe {
        let string = ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as ffi::Py_ssize_t);
        Bound::from_owned_ptr_or_err(py, string)
    }
}

fn integer<'py>(py: Python<'py>, digits: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let digits = CString::new(digits)?;
    // SAFETY: the text ends with a zero and outlives the call; too many digits for Python are an error.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromString(digits.as_ptr(), std::ptr::null_mut(), 10)) }
}
