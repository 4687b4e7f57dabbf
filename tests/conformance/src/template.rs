//! Variables in cases: `${name}` in any text, and `${repeat:COUNT:TEXT}`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// The variables of a running case.
pub(crate) type Variables = BTreeMap<String, String>;

/// The value with every variable put in.
///
/// # Errors
/// A variable that was never set.
pub(crate) fn fill(value: &Value, variables: &Variables) -> Result<Value> {
    Ok(match value {
        Value::String(text) => Value::String(fill_text(text, variables)?),
        Value::Array(items) => items.iter().map(|item| fill(item, variables)).collect::<Result<_>>()?,
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| Ok((fill_text(name, variables)?, fill(value, variables)?)))
                .collect::<Result<_>>()?,
        ),
        other => other.clone(),
    })
}

fn fill_text(text: &str, variables: &Variables) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').with_context(|| format!("`${{` without `}}` in {text:?}"))?;
        filled.push_str(before);
        filled.push_str(&value_of(name, variables)?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value_of(name: &str, variables: &Variables) -> Result<String> {
    if let Some(repeated) = name.strip_prefix("repeat:") {
        let (count, text) = repeated.split_once(':').with_context(|| format!("repeat what? {name}"))?;
        return Ok(text.repeat(count.parse().with_context(|| format!("not a number in {name}"))?));
    }
    variables.get(name).cloned().with_context(|| format!("the variable {name} was never set"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_put_in_everywhere_and_unknown_ones_refused() {
        let variables = Variables::from([("a".to_owned(), "1".to_owned())]);
        let filled = fill(&json!({"x${a}": ["${a}-${a}", 5], "r": "${repeat:3:ab}"}), &variables).unwrap();
        assert_eq!(filled, json!({"x1": ["1-1", 5], "r": "ababab"}));
        assert!(fill(&json!("${b}"), &variables).is_err());
        assert!(fill(&json!("${a"), &variables).is_err());
    }
}
