//! One configuration from a file, the environment and flags; what is said later wins.
//!
//! Every key can be given in each of the three, under one rule: `limits.max_body_bytes` is that key of `[limits]` in
//! the file, the variable `EVERSTREAM_LIMITS__MAX_BODY_BYTES`, and `--set limits.max_body_bytes=...`. A key that
//! does not exist is refused wherever it comes from, because a typo that is passed over in silence is a limit that
//! is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::Config;

/// What the names of variables begin with.
const PREFIX: &str = "EVERSTREAM_";
/// What stands between section and key in the name of a variable. Two underscores: the variables that container
/// platforms set for a service called `everstream`, such as `EVERSTREAM_SERVICE_PORT`, are none of ours.
const SEPARATOR: &str = "__";

/// Collects a configuration. Call the methods in the order of increasing weight: file, environment, flags.
#[derive(Debug)]
pub struct Loader {
    /// Every key and its default, which says how text is to be read.
    known: Table,
    given: BTreeMap<String, Table>,
    warnings: Vec<String>,
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// Only defaults so far.
    pub fn new() -> Self {
        // Every field of a configuration has a form in TOML, as the tests show.
        let known = Table::try_from(Config::default()).unwrap_or_default();
        Self { known, given: BTreeMap::new(), warnings: Vec::new() }
    }

    /// Takes in a file.
    ///
    /// # Errors
    /// It cannot be read, is not TOML, or has a key or value that means nothing: with the line.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self, ConfigError> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).map_err(|error| ConfigError::new(format!("cannot read {shown}: {error}")))?;
        self.text(&text).map_err(|error| ConfigError::new(format!("{shown}: {error}")))
    }

    fn text(&mut self, text: &str) -> Result<&mut Self, ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::new(error.to_string()))?;
        if let Err(error) = toml::from_str::<Config>(text) {
            let hint = unknown(&self.known, &table).and_then(|key| self.similar(&key)).map(did_you_mean);
            return Err(ConfigError::new(format!("{}{}", error.to_string().trim_end(), hint.unwrap_or_default())));
        }
        for (section, keys) in table {
            if let Value::Table(keys) = keys {
                self.given.entry(section).or_default().extend(keys);
            }
        }
        Ok(self)
    }

    /// Takes in the variables that are settings: `EVERSTREAM_<SECTION>__<KEY>`.
    ///
    /// # Errors
    /// One of them is no key, or its value means nothing.
    pub fn env(&mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<&mut Self, ConfigError> {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if let Some((section, key)) = rest.split_once(SEPARATOR) {
                let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
                self.put(&key, &value, &name, variable)?;
                continue;
            }
            let ending = name[PREFIX.len() - 1..].to_owned();
            let meant =
                self.keys().map(|key| variable(&key)).find(|known| known.replace(SEPARATOR, "_").ends_with(&ending));
            if let Some(meant) = meant {
                self.warnings.push(format!("the variable {name} is not a setting and does nothing; {meant} is one"));
            }
        }
        Ok(self)
    }

    /// Sets one key to a value in text; `source` is what to call the origin in an error, such as `--port`.
    ///
    /// # Errors
    /// There is no such key, or the value means nothing to it.
    pub fn set(&mut self, key: &str, value: &str, source: &str) -> Result<&mut Self, ConfigError> {
        self.put(key, value, source, str::to_owned)?;
        Ok(self)
    }

    /// What is odd, but not wrong. Say it when there is a log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The configuration: what was given, and defaults for the rest.
    ///
    /// # Errors
    /// Values that cannot be used together.
    pub fn finish(&self) -> Result<Config, ConfigError> {
        let given: Table = self.given.iter().map(|(name, keys)| (name.clone(), Value::Table(keys.clone()))).collect();
        let config: Config = given.try_into().map_err(|error| describe(&error))?;
        config.checked()
    }

    /// `spell` writes a key as the source would, for hints.
    fn put(&mut self, key: &str, text: &str, source: &str, spell: fn(&str) -> String) -> Result<(), ConfigError> {
        let (section, name) = key.split_once('.').unwrap_or((key, ""));
        let Some(default) = self.known.get(section).and_then(|keys| keys.get(name)) else {
            let hint = self.similar(key).map(|key| did_you_mean(spell(&key)));
            return Err(ConfigError::new(format!("{source}: unknown key `{key}`{}", hint.unwrap_or_default())));
        };
        let failed = |why: &dyn fmt::Display| ConfigError::new(format!("{source}: {key}: {why}"));
        let value = match default {
            Value::String(_) => Value::String(text.to_owned()),
            // Numbers, truth values and lists are written as in the file.
            _ => format!("v = {text}")
                .parse::<Table>()
                .ok()
                .and_then(|mut table| table.remove("v"))
                .ok_or_else(|| failed(&format!("`{text}` is not a value")))?,
        };
        let mut alone = Table::new();
        alone.insert(section.to_owned(), Value::Table(Table::from_iter([(name.to_owned(), value.clone())])));
        if let Err(error) = alone.try_into::<Config>() {
            return Err(failed(&describe(&error)));
        }
        self.given.entry(section.to_owned()).or_default().insert(name.to_owned(), value);
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        self.known
            .iter()
            .filter_map(|(section, keys)| Some((section, keys.as_table()?)))
            .flat_map(|(section, keys)| keys.keys().map(move |key| format!("{section}.{key}")))
    }

    /// The key that `wrong` was perhaps to be.
    fn similar(&self, wrong: &str) -> Option<String> {
        let likeness = |key: &String| strsim::jaro_winkler(key, wrong);
        let best = self.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(&best) > 0.8).then_some(best)
    }
}

/// The first key of `given` that is not in `known`.
fn unknown(known: &Table, given: &Table) -> Option<String> {
    given.iter().find_map(|(section, keys)| {
        let Some(known) = known.get(section).and_then(Value::as_table) else {
            return Some(section.clone());
        };
        let key = keys.as_table()?.keys().find(|key| !known.contains_key(*key))?;
        Some(format!("{section}.{key}"))
    })
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replacen('.', SEPARATOR, 1))
}

fn did_you_mean(key: impl fmt::Display) -> String {
    format!("; did you mean `{key}`?")
}

/// The first line of an error; the others show where in a text that the user did not write.
fn describe(error: &toml::de::Error) -> ConfigError {
    ConfigError::new(error.message().to_owned())
}

/// A configuration that cannot be used. Says which key, where it was given, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn loaded(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
        let mut loader = Loader::new();
        let mut load = || {
            loader.text(file)?;
            loader.env(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))?;
            for (key, value) in flags {
                loader.set(key, value, "--set")?;
            }
            loader.finish()
        };
        load().map_err(|error: ConfigError| error.to_string())
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let file =
            "[server]\nport = 1\nstream_root = \"/file\"\n[limits]\nmax_read_bytes = 5\nmax_body_bytes = \"2KiB\"";
        let variables = [("EVERSTREAM_SERVER__PORT", "2"), ("EVERSTREAM_LIMITS__MAX_READ_BYTES", "6"), ("HOME", "/")];
        let config = loaded(file, &variables, &[("server.port", "3")]).unwrap();
        assert_eq!(config.server.port, 3);
        assert_eq!(config.limits.max_read_bytes, 6);
        assert_eq!(config.limits.max_body_bytes, 2048);
        assert_eq!(config.server.stream_root, "/file");
        assert_eq!(config.server.sse_lifetime, Config::default().server.sse_lifetime);
    }

    #[test]
    fn every_kind_of_value_can_be_given_as_text() {
        let flags = [
            ("server.host", "::1"),
            ("server.stream_root", ""),
            ("server.compression", "false"),
            ("server.sse_lifetime", "1500ms"),
            ("limits.max_http2_streams", "7"),
            ("limits.header_timeout", "2m"),
            ("log.format", "json"),
        ];
        let config = loaded("", &[], &flags).unwrap();
        assert_eq!(config.bind().to_string(), "[::1]:4437");
        assert!(config.server.stream_root.is_empty() && !config.server.compression);
        assert_eq!(config.server.sse_lifetime, Duration::from_millis(1500));
        assert_eq!((config.limits.max_http2_streams, config.limits.header_timeout), (7, Duration::from_secs(120)));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_name_and_a_hint() {
        let file = |text| loaded(text, &[], &[]).unwrap_err();
        let in_file = file("[server]\nport = 1\n[limits]\nmax_body = 5\n");
        for part in ["line 4", "max_body", "did you mean `limits.max_body_bytes`?"] {
            assert!(in_file.contains(part), "{part}: {in_file}");
        }
        assert!(file("[limit]\n").contains("`limit`"), "{}", file("[limit]\n"));
        assert!(file("port = 1\n").contains("`port`"), "{}", file("port = 1\n"));
        let variable = loaded("", &[("EVERSTREAM_LIMITS__MAX_BODY", "5")], &[]).unwrap_err();
        for part in ["EVERSTREAM_LIMITS__MAX_BODY: ", "did you mean `EVERSTREAM_LIMITS__MAX_BODY_BYTES`?"] {
            assert!(variable.contains(part), "{part}: {variable}");
        }
        let flag = loaded("", &[], &[("limits.max_boddy_bytes", "5")]).unwrap_err();
        assert_eq!(flag, "--set: unknown key `limits.max_boddy_bytes`; did you mean `limits.max_body_bytes`?");
        assert_eq!(loaded("", &[], &[("zzz", "5")]).unwrap_err(), "--set: unknown key `zzz`");
    }

    #[test]
    fn values_that_mean_nothing_are_refused_with_their_origin() {
        let rows = [
            ("server.port", "99999", "server.port: "),
            ("server.port", "", "server.port: "),
            ("server.port", "1 = 2", "server.port: "),
            ("server.host", "localhost", "server.host: "),
            ("server.sse_lifetime", "soon", "give seconds, or a number with"),
            ("limits.max_body_bytes", "64MB", "give bytes, or a whole number with"),
            ("storage.kind", "paper", "unknown variant `paper`"),
        ];
        for (key, value, part) in rows {
            let error = loaded("", &[], &[(key, value)]).unwrap_err();
            assert!(error.starts_with("--set: ") && error.contains(part), "{key}={value}: {error}");
        }
        let error = loaded("[server]\nstream_root = \"x\"", &[], &[]).unwrap_err();
        assert!(error.contains("server.stream_root"), "{error}");
    }

    #[test]
    fn a_variable_that_looks_like_a_setting_is_mentioned() {
        let mut loader = Loader::new();
        let variables = [("EVERSTREAM_PORT", "1"), ("EVERSTREAM_HOME", "x")];
        loader.env(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
        assert_eq!(loader.warnings().len(), 1, "{:?}", loader.warnings());
        assert!(loader.warnings()[0].contains("EVERSTREAM_SERVER__PORT"));
        assert_eq!(loader.finish().unwrap(), Config::default());
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        let config = loaded("", &[], &[("server.port", "0"), ("limits.max_read_bytes", "17")]).unwrap();
        assert_eq!(loaded(&config.to_toml().unwrap(), &[], &[]).unwrap(), config);
    }

    #[test]
    fn the_table_for_operators_has_every_key_and_its_default() {
        let page = include_str!("../../../docs/server.md");
        let loader = Loader::new();
        for key in loader.keys() {
            let (section, name) = key.split_once('.').unwrap();
            let default = match &loader.known[section][name] {
                Value::String(text) if text.is_empty() => String::new(),
                Value::String(text) => format!("`{text}` "),
                other => format!("`{other}` "),
            };
            let row = format!("| `{key}` | {default}| ");
            assert!(page.lines().any(|line| line.starts_with(&row)), "docs/server.md lacks this row: {row}");
        }
    }
}
