//! The devices that are read: one process, a TCP port for each, bare bytes, as quick as can be.

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a read request over TCP: seven of header, function, address, count.
const REQUEST_BYTES: usize = 12;

/// Serves so many devices until killed; prints their ports in one line.
pub(crate) fn serve(count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ports = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            ports.push(listener.local_addr()?.port());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream));
                }
            });
        }
        println!("listening {}", serde_json::to_string(&ports)?);
        std::future::pending().await
    })
}

/// Each pair of registers is the float 230.5, whatever its address.
async fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut request = [0; REQUEST_BYTES];
    while stream.read_exact(&mut request).await.is_ok() {
        let registers = u16::from_be_bytes([request[10], request[11]]);
        let data = 230.5f32.to_be_bytes().repeat(usize::from(registers / 2));
        let length = u16::try_from(data.len() + 3).unwrap_or(u16::MAX).to_be_bytes();
        let head = [&request[..4], &length, &request[6..8], &[u8::try_from(data.len()).unwrap_or(u8::MAX)]].concat();
        if stream.write_all(&[head, data].concat()).await.is_err() {
            return;
        }
    }
}
