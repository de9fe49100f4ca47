// Requests to the control plane, with the credential of one gateway.

export class ControlPlane {
  #token;

  constructor({ controlPlane, clientId, clientSecret }) {
    this.base = controlPlane.replace(/\/$/, "");
    this.basic = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString("base64");
  }

  /** Sends a request with an access token. One that is refused is fetched anew, once. Errors have code and retryAfter. */
  async send(path, { headers = {}, ...options } = {}) {
    for (let attempt = 0; ; attempt++) {
      const authorized = { "Content-Type": "application/json", ...headers, Authorization: `Bearer ${await this.#bearer()}` };
      try {
        return await this.fetch(path, { ...options, headers: authorized });
      } catch (error) {
        if (error.status !== 401 || attempt > 0) throw error;
        this.#token = undefined;
      }
    }
  }

  /** Sends a request without a token. A redirect is never followed: the credential is for the control plane alone. */
  async fetch(path, { seconds = 10, signal, ...options } = {}) {
    const signals = [AbortSignal.timeout(seconds * 1000), signal].filter(Boolean);
    const response = await fetch(this.base + path, { redirect: "error", ...options, signal: AbortSignal.any(signals) });
    if (response.ok || response.status === 304) return response;
    const problem = await response.json().catch(() => ({}));
    const code = problem.code ?? problem.error ?? "unknown"; // the token endpoint answers as RFC 6749 says
    throw Object.assign(new Error(`${path} answers ${response.status} ${code}`), {
      code,
      status: response.status,
      retryAfter: Number(response.headers.get("Retry-After")) || undefined,
    });
  }

  async #bearer() {
    if (!(this.#token?.until > performance.now())) {
      const response = await this.fetch("/oauth/token", {
        method: "POST",
        headers: { Authorization: `Basic ${this.basic}` },
        body: new URLSearchParams({ grant_type: "client_credentials" }),
      });
      const { access_token, expires_in } = await response.json();
      this.#token = { value: access_token, until: performance.now() + (expires_in - 30) * 1000 };
    }
    return this.#token.value;
  }
}
