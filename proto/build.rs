//! Generates the gRPC code with protox: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["tandem/v1/relay.proto", "tandem/v1/signal.proto"];
    println!("cargo:rerun-if-changed=tandem");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
