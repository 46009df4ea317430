//! Checks that a request is a gRPC call ("gRPC over HTTP/2", Requests).

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method as HttpMethod, Request, Response, StatusCode};
use tower_http::validate_request::ValidateRequest;

use super::response::ResponseBody;
use super::response_future::rejection;
use crate::rpc::RpcError;

/// The content type of gRPC.
const GRPC: &[u8] = b"application/grpc";
/// The suffix that names the encoding of messages. `application/grpc+json` is another encoding, and
/// `application/grpc-web` is another protocol.
const PROTO: &[u8] = b"+proto";
/// The longest part of a content type that an error repeats.
const MAX_QUOTED: usize = 64;

/// Rejects other requests by their HTTP status. tonic would decode them as gRPC.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckGrpcRequest;

impl<B> ValidateRequest<B> for CheckGrpcRequest {
    type ResponseBody = ResponseBody;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<ResponseBody>> {
        if request.method() != HttpMethod::POST {
            let error = RpcError::NotGrpc("the HTTP method is not POST".to_owned());
            return Err(with_status(StatusCode::METHOD_NOT_ALLOWED, error));
        }
        let content_type = request.headers().get(CONTENT_TYPE);
        if content_type.is_some_and(is_grpc) {
            return Ok(());
        }
        let error = RpcError::NotGrpc(match content_type {
            Some(value) => format!("the content-type is `{}`", quoted(value)),
            None => "there is no content-type".to_owned(),
        });
        Err(with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
    }
}

/// Returns true for `application/grpc` and `application/grpc+proto`, with any parameters.
fn is_grpc(content_type: &HeaderValue) -> bool {
    let Some(rest) = content_type.as_bytes().strip_prefix(GRPC) else { return false };
    let rest = rest.strip_prefix(PROTO).unwrap_or(rest);
    rest.is_empty() || rest.starts_with(b";")
}

fn quoted(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    bytes[..bytes.len().min(MAX_QUOTED)].escape_ascii().to_string()
}

fn with_status(status: StatusCode, error: RpcError) -> Response<ResponseBody> {
    let mut response = rejection(error);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_of_other_protocols_are_not_grpc() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc+proto;x=y", true),
            ("application/grpc+json", false),
            ("application/grpc+protobuf", false),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpc-web-text", false),
            ("application/json", false),
            ("application/proto", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_content_type() {
        let long = HeaderValue::from_bytes(&[0xff; 1000]).unwrap();
        assert_eq!(quoted(&long), "\\xff".repeat(MAX_QUOTED));
    }
}
