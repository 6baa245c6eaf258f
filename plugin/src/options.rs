//! Options: JSON from the host, checked against the node manifest, in the engine's types.

use lgs_abi::options::Options;
use serde_json::{Map, Value};

use crate::{
    error::{quoted, Error, Result, Status},
    manifest::{self, Domain, Input},
};

/// Checked options.
pub struct Checked {
    /// Every option by name, defaults filled in.
    pub values: Map<String, Value>,
    pub options: Options,
}

/// Checks a JSON object of options; an empty text is an empty object.
pub fn check(json: &str) -> Result<Checked> {
    let given = match json.trim() {
        "" => Map::new(),
        json => match serde_json::from_str(json) {
            Ok(Value::Object(given)) => given,
            Ok(other) => {
                return Err(Error::argument(format!("options: expected a JSON object, got {}", describe(&other))))
            }
            Err(error) => {
                return Err(Error::argument(format!(
                    "options: expected a JSON object, got text that is not JSON: {}",
                    quoted(&error.to_string())
                )))
            }
        },
    };
    let inputs = manifest::options();
    if let Some((name, _)) = given.iter().find(|(name, _)| !inputs.iter().any(|input| input.is_called(name))) {
        let known: Vec<&str> = inputs.iter().map(|input| input.id.as_str()).collect();
        return Err(Error::new(
            Status::InvalidType,
            format!("{}: there is no such option; the options are {}", quoted(name), known.join(", ")),
        ));
    }
    let mut values = Map::new();
    for input in inputs {
        let mut named = given.iter().filter(|(name, _)| input.is_called(name));
        let value = match (named.next(), named.next()) {
            (Some((one, _)), Some((other, _))) => {
                return Err(Error::argument(format!(
                    "{0}: expected one value, got two, for {one} and for {other}; {0} is the name of both",
                    input.id
                )))
            }
            (Some((_, value)), None) => value_of(input, value)?,
            _ => default(input, &values),
        };
        values.insert(input.id.clone(), value);
    }
    let options = serde_json::from_value(Value::Object(values.clone())).map_err(|error| {
        Error::new(Status::Internal, format!("the node manifest and this library disagree: {error}"))
    })?;
    Ok(Checked { values, options })
}

/// The default of an option beside those that the manifest has before it.
fn default(input: &Input, before: &Map<String, Value>) -> Value {
    let chosen = before.values().filter_map(Value::as_str);
    if let Some(value) = chosen.filter_map(|value| input.defaults.get(value)).next() {
        return value.clone();
    }
    match &input.domain {
        Domain::Choice { default, .. } | Domain::Text { default } => Value::from(default.as_str()),
        Domain::Integer { default, .. } => Value::from(*default),
        Domain::Number { default, .. } => Value::from(*default),
        Domain::Switch { default } => Value::from(*default),
    }
}

fn value_of(input: &Input, value: &Value) -> Result<Value> {
    let name = &input.id;
    let wrong_type = |expected: &str| {
        Err(Error::new(Status::InvalidType, format!("{name}: expected {expected}, got {}", describe(value))))
    };
    let out_of_range =
        |expected: String| Err(Error::argument(format!("{name}: expected {expected}, got {}", shown(value))));
    match &input.domain {
        Domain::Choice { choices, .. } => match value.as_str() {
            None => wrong_type(&format!("one of {}", listed(choices))),
            Some(text) if choices.iter().any(|choice| choice == text) => Ok(value.clone()),
            Some(_) => out_of_range(format!("one of {}", listed(choices))),
        },
        Domain::Integer { min, max, .. } => match value.as_i64() {
            Some(number) if (*min..=*max).contains(&number) => Ok(value.clone()),
            // What is no i64 is a larger integer, or no integer at all.
            None if value.as_f64().is_none_or(|number| number.abs() < i64::MAX as f64) => {
                wrong_type(&format!("an integer from {min} to {max}"))
            }
            _ => out_of_range(format!("an integer from {min} to {max}")),
        },
        Domain::Number { min, max, .. } => match value.as_f64() {
            None => wrong_type(&format!("a number from {min} to {max}")),
            Some(number) if (*min..=*max).contains(&number) => Ok(Value::from(number)),
            Some(_) => out_of_range(format!("a number from {min} to {max}")),
        },
        Domain::Switch { .. } if value.is_boolean() => Ok(value.clone()),
        Domain::Switch { .. } => wrong_type("true or false"),
        Domain::Text { .. } if value.is_string() => Ok(value.clone()),
        Domain::Text { .. } => wrong_type("a text"),
    }
}

/// A value as it came.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", quoted(text)),
        other => quoted(&other.to_string()),
    }
}

fn listed(choices: &[String]) -> String {
    choices.iter().map(|choice| format!("{choice:?}")).collect::<Vec<_>>().join(", ")
}

/// A JSON value with its type, for an error.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".into(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(_) => format!("the number {}", shown(value)),
        Value::String(_) => format!("the text {}", shown(value)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_manifest_gives_options_that_the_library_knows() {
        assert!(!manifest::options().is_empty());
        for input in manifest::options() {
            if let Domain::Choice { choices, .. } = &input.domain {
                for choice in choices {
                    check(&format!("{{{:?}: {choice:?}}}", input.id)).expect("every choice is known");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_each_range_are_taken_and_what_lies_beyond_is_refused_by_name() {
        for input in manifest::options() {
            let (inside, outside) = match &input.domain {
                Domain::Integer { min, max, .. } => {
                    ([min.to_string(), max.to_string()], [(min - 1).to_string(), (max + 1).to_string()])
                }
                Domain::Number { min, max, .. } => {
                    ([min.to_string(), max.to_string()], [(min - 0.5).to_string(), (max + 0.5).to_string()])
                }
                _ => continue,
            };
            for value in inside {
                check(&format!("{{{:?}: {value}}}", input.id)).expect("the ends belong to the range");
            }
            for value in outside {
                let error = check(&format!("{{{:?}: {value}}}", input.id)).err().expect("beyond the range");
                assert_eq!(error.status, Status::InvalidArgument);
                assert!(error.message.starts_with(&input.id) && error.message.contains(&value), "{error}");
            }
        }
    }

    #[test]
    fn a_default_may_depend_on_an_option_before_it() {
        let eta = |json: &str| check(json).expect(json).options.eta;
        assert_eq!((eta(""), eta(r#"{"solver": "ancestral"}"#), eta(r#"{"solver": "secant"}"#)), (1.0, 1.0, 0.0));
        assert_eq!(eta(r#"{"eta": 0.25, "solver": "secant"}"#), 0.25);
        for (number, input) in manifest::options().iter().enumerate() {
            for (choice, value) in &input.defaults {
                let before = &manifest::options()[..number];
                let known =
                    |domain: &Domain| matches!(domain, Domain::Choice { choices, .. } if choices.contains(choice));
                assert_eq!(before.iter().filter(|other| known(&other.domain)).count(), 1, "{}: {choice}", input.id);
                assert_eq!(value_of(input, value).expect("a value of the option"), *value);
            }
        }
    }

    #[test]
    fn an_earlier_name_stands_for_its_option_and_not_beside_it() {
        for input in manifest::options() {
            for alias in &input.aliases {
                let value = default(input, &Map::new());
                let by_alias = check(&format!("{{{alias:?}: {value}}}")).expect("an earlier name is taken");
                assert_eq!(by_alias.values, check("").expect("defaults").values);
                let error = check(&format!("{{{alias:?}: {value}, {:?}: {value}}}", input.id)).err().expect("both");
                assert_eq!(error.status, Status::InvalidArgument);
                assert!(error.message.starts_with(&input.id) && error.message.contains(alias.as_str()), "{error}");
            }
        }
        let checked = check(r#"{"lanczos_min_sigma": 0.25}"#).expect("an earlier name is taken");
        assert_eq!(checked.options.covariance_min_sigma, 0.25);
        let error = check(r#"{"lanczos_max_sigma": -1}"#).err().expect("out of range");
        assert!(error.message.starts_with("covariance_max_sigma"), "{error}");
    }

    #[test]
    fn wrong_types_and_unknown_names_are_refused_by_name() {
        for (json, name) in [
            (r#"{"lanczos_steps": 2.5}"#, "lanczos_steps"),
            (r#"{"lanczos_steps": true}"#, "lanczos_steps"),
            (r#"{"eta": "1"}"#, "eta"),
            (r#"{"eta": null}"#, "eta"),
            (r#"{"covariance": 3}"#, "covariance"),
            (r#"{"extended": 1}"#, "extended"),
            (r#"{"steps": 3}"#, "steps"),
        ] {
            let error = check(json).err().expect(json);
            assert_eq!(error.status, Status::InvalidType, "{error}");
            assert!(error.message.starts_with(name), "{error}");
        }
        for json in ["[]", "{", "3", "{\"eta\": NaN}"] {
            assert_eq!(check(json).err().expect(json).status, Status::InvalidArgument);
        }
    }
}
