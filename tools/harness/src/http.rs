//! HTTP requests to a node's admin port, and a reader of its metrics.
//!
//! Not here: the meaning of the metrics (docs/OPERATING.md).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A node that does not answer by then is stuck.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// The answer's body to one HTTP request without a body.
///
/// # Errors
/// There is no answer, or its status is not 2xx.
pub fn request(admin: SocketAddr, method: &str, path: &str) -> Result<String> {
    request_with(admin, method, path, "")
}

/// The answer's body to one HTTP request with a body of JSON.
///
/// # Errors
/// There is no answer, or its status is not 2xx; the text has the answer then.
pub fn request_with(admin: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(admin).context("the admin port does not answer")?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json");
    // In one write: a second small one would wait for the first one's acknowledgement.
    let request = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{method} {path} was not answered"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the admin port does not speak HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{method} {path} was answered with {status} {}", body.trim());
    Ok(body.to_owned())
}

/// A metric of a node, summed over its labels; `None` if there is none of that name.
///
/// # Errors
/// The admin port does not answer.
pub fn metric(admin: SocketAddr, name: &str) -> Result<Option<f64>> {
    Ok(sum_of(name, &request(admin, "GET", "/metrics")?))
}

/// The sum of a metric over its labels; `None` if there is none of that name.
#[must_use]
pub fn sum_of(metric: &str, exposition: &str) -> Option<f64> {
    let values = exposition.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        (rest.starts_with('{') || rest.starts_with(' ')).then_some(())?;
        rest.rsplit_once(' ')?.1.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_others() {
        let text = "# TYPE a gauge\na{transport=\"ws\"} 3\na{transport=\"quic\"} 4.5\na_total 100\nb 5\n";
        assert_eq!((sum_of("a", text), sum_of("b", text), sum_of("c", text)), (Some(7.5), Some(5.0), None));
    }
}
