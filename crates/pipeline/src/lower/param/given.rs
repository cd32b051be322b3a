//! Values given from outside the file: by a person, a command line or a server.

use serde_json::Value as Json;

use super::fit::fit;
use crate::plan::{Param, ParamType};
use crate::scalar::node;

/// Reads what somebody gave from outside the file. A command line has only texts,
/// which are read as the type wants them.
pub(crate) fn given(param: &Param, value: &Json) -> Result<Json, String> {
    fit(param, &node(&from_text(param.kind, param.of, value)))
}

/// A text as the type wants it, as far as it can be that; everything else as it is.
fn from_text(kind: ParamType, of: Option<ParamType>, value: &Json) -> Json {
    let item = |value: &Json| of.map_or_else(|| value.clone(), |of| from_text(of, None, value));
    match (kind, value) {
        (ParamType::Int, Json::String(text)) => {
            text.parse::<i64>().map_or_else(|_| value.clone(), Json::from)
        }
        (ParamType::Bool, Json::String(text)) => {
            text.parse::<bool>().map_or_else(|_| value.clone(), Json::from)
        }
        (ParamType::List, Json::String(text)) => match serde_json::from_str(text) {
            Ok(Json::Array(list)) => list.iter().map(item).collect(),
            _ if text.is_empty() => Json::Array(Vec::new()),
            _ => text.split(',').map(|part| item(&Json::from(part.trim()))).collect(),
        },
        (ParamType::List, Json::Array(list)) => list.iter().map(item).collect(),
        (ParamType::Map, Json::String(text)) => match serde_json::from_str(text) {
            Ok(Json::Object(map)) => from_text(kind, of, &Json::Object(map)),
            _ if text.is_empty() => Json::Object(serde_json::Map::new()),
            _ => {
                let pairs: Option<Vec<_>> =
                    text.split(',').map(|pair| pair.trim().split_once('=')).collect();
                let Some(pairs) = pairs else { return value.clone() };
                let value = |(name, text): (&str, &str)| (name.to_owned(), item(&Json::from(text)));
                pairs.into_iter().map(value).collect()
            }
        },
        (ParamType::Map, Json::Object(map)) => {
            map.iter().map(|(name, value)| (name.clone(), item(value))).collect()
        }
        _ => value.clone(),
    }
}
