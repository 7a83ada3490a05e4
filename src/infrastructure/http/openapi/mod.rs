//! Parts of the OpenAPI document that handlers use: [`params`], parameters that several operations share; [`answers`],
//! responses that are not errors; [`problems`], the error responses of an operation.

pub(crate) mod answers;
pub(crate) mod params;
pub(crate) mod problems;
