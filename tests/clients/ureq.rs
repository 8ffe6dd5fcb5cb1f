use ureq::http::{Request, header};

pub struct Pykv {
    pub nodes: Vec<String>,
    pub offset: u64,
}

impl Pykv {
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String), Box<dyn std::error::Error>> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut url = format!("{}{path}", self.nodes[0]);
        let mut last = (0, String::new());
        for _ in 0..8 {
            if !self.nodes.iter().any(|node| url.starts_with(&format!("{node}/"))) {
                return Err(format!("{url} is no node of this cluster").into());
            }
            let mut request = Request::builder()
                .method(method)
                .uri(&url)
                .header(header::CONTENT_TYPE, "application/json")
                .header("Pykv-Min-Offset", self.offset);
            if let Ok(token) = std::env::var("PYKV_TOKEN") {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let mut answer = agent.run(request.body(body.to_owned())?)?;
            last = (answer.status().as_u16(), answer.body_mut().read_to_string()?);
            let field = |name: &str| answer.headers().get(name)?.to_str().ok();
            let number = |name: &str| field(name)?.parse::<u64>().ok();
            self.offset = self.offset.max(number("Pykv-Offset").unwrap_or(0));
            match (last.0, field("Location"), number("Retry-After")) {
                (307, Some(to), _) => url = to.to_owned(),
                (503, _, Some(wait)) if !last.1.contains("\"outcome\"") => {
                    std::thread::sleep(std::time::Duration::from_secs(wait)); // As Retry-After says.
                }
                _ => break,
            }
        }
        Ok(last)
    }
}
