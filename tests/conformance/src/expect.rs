//! Comparing what came with what was expected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

/// Where `actual` is not what `expected` says; `None` when it is.
///
/// An object expects its own fields and allows others; a list expects as many items, each as it says; anything else expects
/// to be equal. An object with one field that starts with `$` says more: `$present`, `$absent` (with `true`), `$not`,
/// `$contains` (a text, or texts), `$starts`, `$any` (a list of what would do), `$each` (every item of a list).
pub(crate) fn difference(expected: &Value, actual: Option<&Value>, place: &str) -> Option<String> {
    if let Some((word, wanted)) = word_of(expected) {
        return word_difference(word, wanted, actual, place);
    }
    let Some(actual) = actual else {
        return Some(format!("{place} is missing, expected {expected}"));
    };
    match (expected, actual) {
        (Value::Object(fields), Value::Object(found)) => {
            fields.iter().find_map(|(name, value)| difference(value, found.get(name), &format!("{place}.{name}")))
        }
        (Value::Array(items), Value::Array(found)) => {
            if items.len() != found.len() {
                let shown = shorten(actual);
                return Some(format!("{place} has {} items, expected {}: {shown}", found.len(), items.len()));
            }
            let mut pairs = items.iter().zip(found).enumerate();
            pairs.find_map(|(index, (item, found))| difference(item, Some(found), &format!("{place}[{index}]")))
        }
        _ if expected == actual => None,
        _ => Some(format!("{place} is {}, expected {}", shorten(actual), shorten(expected))),
    }
}

/// Whether a value looks as expected.
pub(crate) fn matches(expected: &Value, actual: &Value) -> bool {
    difference(expected, Some(actual), "it").is_none()
}

fn word_of(expected: &Value) -> Option<(&str, &Value)> {
    let fields = expected.as_object().filter(|fields| fields.len() == 1)?;
    let (word, wanted) = fields.iter().next()?;
    Some((word.strip_prefix('$')?, wanted))
}

fn word_difference(word: &str, wanted: &Value, actual: Option<&Value>, place: &str) -> Option<String> {
    let shown = || actual.map_or_else(|| "missing".to_owned(), shorten);
    let text = actual.and_then(Value::as_str).unwrap_or_default();
    let held = match word {
        "present" => actual.is_some() == (wanted == true),
        "absent" => actual.is_none() == (wanted == true),
        "not" => difference(wanted, actual, place).is_some(),
        "starts" => wanted.as_str().is_some_and(|start| text.starts_with(start)),
        "contains" => match wanted {
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).all(|part| contains(text, part)),
            other => other.as_str().is_some_and(|part| contains(text, part)),
        },
        "any" => {
            wanted.as_array().is_some_and(|choices| choices.iter().any(|it| difference(it, actual, place).is_none()))
        }
        "each" => {
            let Some(items) = actual.and_then(Value::as_array) else {
                return Some(format!("{place} is no list: {}", shown()));
            };
            let mut items = items.iter().enumerate();
            return items.find_map(|(index, item)| difference(wanted, Some(item), &format!("{place}[{index}]")));
        }
        _ => return Some(format!("{place}: there is no ${word}")),
    };
    (!held).then(|| format!("{place} is {}, expected ${word} {}", shown(), shorten(wanted)))
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// A value for a message.
pub(crate) fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// The value at a place such as `headers.etag` or `chunks.0.offset`. Names may have dots only where nothing follows them.
pub(crate) fn at<'a>(value: &'a Value, place: &str) -> Option<&'a Value> {
    place.split('.').try_fold(value, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}

/// A successful or failed result of an adapter, as cases speak of it: with `data` and `json` made of its chunks, and
/// `error` in place of `errorCode`.
pub(crate) fn as_told(result: &Value) -> Value {
    let mut told: Map<String, Value> = result.as_object().cloned().unwrap_or_default();
    if let Some(code) = told.remove("errorCode") {
        told.insert("error".to_owned(), code);
    }
    if let Some(chunks) = told.remove("chunks") {
        let chunks = chunks.as_array().cloned().unwrap_or_default();
        let pieces: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["data"].as_str()).collect();
        // A character may be cut by the end of a chunk: text is only what is text as a whole.
        let bytes = chunks.iter().flat_map(bytes_of).collect::<Vec<u8>>();
        told.insert("base64".to_owned(), BASE64.encode(&bytes).into());
        if let Ok(text) = String::from_utf8(bytes) {
            told.insert("data".to_owned(), text.into());
        }
        let messages: Option<Vec<Value>> = pieces
            .iter()
            .map(|piece| serde_json::from_str::<Vec<Value>>(piece).ok())
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat());
        if let Some(messages) = messages {
            told.insert("json".to_owned(), messages.into());
        }
        told.insert("pieces".to_owned(), pieces.into());
        told.insert("chunks".to_owned(), chunks.into());
    }
    Value::Object(told)
}

fn bytes_of(chunk: &Value) -> Vec<u8> {
    let data = chunk["data"].as_str().unwrap_or_default();
    if chunk["binary"] == true { BASE64.decode(data).unwrap_or_default() } else { data.as_bytes().to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differs(expected: Value, actual: Value) -> bool {
        difference(&expected, Some(&actual), "it").is_some()
    }

    #[test]
    fn an_object_allows_more_fields_and_a_list_no_more_items() {
        assert!(!differs(json!({"a": 1}), json!({"a": 1, "b": 2})));
        assert!(differs(json!({"a": 1, "b": 2}), json!({"a": 1})));
        assert!(differs(json!([1]), json!([1, 2])));
        assert!(differs(json!([1, 2]), json!([2, 1])));
        assert!(differs(json!("1"), json!(1)));
    }

    #[test]
    fn words_say_more() {
        assert!(!differs(json!({"a": {"$absent": true}}), json!({})));
        assert!(differs(json!({"a": {"$absent": true}}), json!({"a": 1})));
        assert!(differs(json!({"a": {"$present": true}}), json!({})));
        assert!(!differs(json!({"$contains": ["B", "a"]}), json!("abc")));
        assert!(differs(json!({"$contains": ["B", "x"]}), json!("abc")));
        assert!(!differs(json!({"$any": [1, 2]}), json!(2)));
        assert!(differs(json!({"$any": [1, 2]}), json!(3)));
        assert!(differs(json!({"$not": 1}), json!(1)));
        assert!(!differs(json!({"$each": {"ok": true}}), json!([{"ok": true}, {"ok": true, "x": 1}])));
        assert!(differs(json!({"$each": {"ok": true}}), json!([{"ok": true}, {}])));
        assert!(differs(json!({"$nothing": 1}), json!(1)), "an unknown word never holds");
    }

    #[test]
    fn chunks_become_data_and_messages() {
        let told = as_told(&json!({"chunks": [{"data": "[1]"}, {"data": "[2,3]"}]}));
        assert_eq!((told["data"].clone(), told["json"].clone()), (json!("[1][2,3]"), json!([1, 2, 3])));
        assert_eq!(as_told(&json!({"chunks": []}))["json"], json!([]));
        assert_eq!(as_told(&json!({"chunks": [{"data": "x"}]})).get("json"), None);
        let cut = json!({"chunks": [{"data": "w6nD", "binary": true}, {"data": "qQ==", "binary": true}]});
        assert_eq!(as_told(&cut)["data"], "éé");
    }
}
