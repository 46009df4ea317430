//! Requests that break gRPC's rules are rejected, and not served as if they were right.

use std::future::poll_fn;

use anyhow::{Context, Result};
use bytes::BytesMut;
use taskstats_tests::agent::Agent;
use taskstats_tests::client::{Client, connect};
use taskstats_tests::deadline::within;
use taskstats_tests::machine_lock::MachineLock;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, StatusCode};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::get_pid;

const GET_PID: &str = "http://localhost/taskstats.v1.TaskstatsService/GetPid";
/// A `GetPidRequest` for process 1, with its prefix.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// Sends an HTTP request, and returns the head of the response and its status.
async fn call(channel: &mut Channel, request: Request<Body>) -> Result<(Response<Body>, Status)> {
    within("a ready channel", poll_fn(|context| channel.poll_ready(context))).await??;
    let response = within("a response", channel.call(request)).await??;
    let status = Status::from_header_map(response.headers()).context("no status")?;
    Ok((response, status))
}

fn body(messages: &[&[u8]]) -> Body {
    let bytes = messages.concat();
    Body::new(String::from_utf8(bytes).unwrap_or_default())
}

/// Content types of other protocols and encodings have HTTP status 415, as gRPC's specification
/// says.
#[tokio::test]
async fn content_types_of_other_protocols_are_rejected() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut channel = connect(&agent.url()).await?;
    for content_type in [
        "application/json",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc+json",
        "application/x-protobuf",
    ] {
        let request = Request::post(GET_PID).header("content-type", content_type);
        let (response, status) = call(&mut channel, request.body(body(&[MESSAGE]))?).await?;
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert_eq!(status.code(), Code::InvalidArgument, "{content_type}");
        assert!(status.message().contains(content_type), "{status:?}");
    }
    let request = Request::post(GET_PID).body(body(&[MESSAGE]))?;
    let (response, _) = call(&mut channel, request).await?;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "no content type");
    let request = Request::put(GET_PID).header("content-type", "application/grpc");
    let (response, _) = call(&mut channel, request.body(body(&[MESSAGE]))?).await?;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    // The connection is not affected.
    get_pid(&mut Client::new(channel), 1).await?;
    Ok(())
}

/// Both names of the content type of gRPC with protobuf are served.
#[tokio::test]
async fn both_content_types_of_grpc_are_served() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut channel = connect(&agent.url()).await?;
    for content_type in ["application/grpc", "application/grpc+proto"] {
        // A pid of 0 is rejected by the method itself, in the head of the response.
        let request = Request::post(GET_PID).header("content-type", content_type);
        let (response, status) = call(&mut channel, request.body(body(&[&[0; 5]]))?).await?;
        assert_eq!(response.status(), StatusCode::OK, "{content_type}");
        assert!(status.message().contains("pid"), "{status:?}");
    }
    Ok(())
}

/// A second message of a method that accepts one fails the call, wherever it begins.
#[tokio::test]
async fn a_second_message_is_rejected() -> Result<()> {
    let _lock = MachineLock::shared()?;
    let agent = Agent::start().await?;
    let mut channel = connect(&agent.url()).await?;
    for path in ["taskstats.v1.TaskstatsService/WatchExits", "grpc.health.v1.Health/Check"] {
        let empty = [0; 5];
        let request = Request::post(format!("http://localhost/{path}"))
            .header("content-type", "application/grpc")
            .body(body(&[&empty, &empty]))?;
        let (_, status) = call(&mut channel, request).await?;
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
        assert!(status.message().contains("second request message"), "{status:?}");
    }
    let mut bytes = BytesMut::from(MESSAGE);
    bytes.extend_from_slice(MESSAGE);
    let request =
        Request::post(GET_PID).header("content-type", "application/grpc").body(body(&[&bytes]))?;
    let (_, status) = call(&mut channel, request).await?;
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    Ok(())
}
