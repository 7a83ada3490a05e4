// The API reference: Swagger UI with parts of this service. It starts with values that work (an open sale, its items, a fresh
// `Idempotency-Key`), carries the code of a checkout to the requests that need it, and shows the errors of a request once.

"use strict";

(() => {
  // The service, also behind a gateway that serves it below a path.
  const root = new URL("..", location.href);
  const KEY = "Idempotency-Key";

  // Values of parameters, by their names. They come from the open sale and from answers to requests of this page.
  const known = {};
  // Items of the open sale that are left.
  let items = [];

  // A UUID of version 4. `crypto.randomUUID` exists only over HTTPS and on localhost.
  const newKey = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  };

  // Finds an open sale and items to buy. Without them, the page has the examples of the document.
  const discover = async () => {
    const read = async (path) => {
      const response = await fetch(new URL(path, root), { signal: AbortSignal.timeout(2000) });
      return (await response.json()).data;
    };
    try {
      const [sale] = await read("v2/sales/active");
      known.sale_id = sale.id;
      items = await read(`v2/sales/${encodeURIComponent(sale.id)}/items?available=true&limit=5`);
      if (items.length > 0) known.item_id = items[0].id;
    } catch {
      // No sale is open, or the service is unavailable.
    }
  };

  // Puts the open sale and its items into the example of a body.
  const adapt = (body) => {
    if (body === null || typeof body !== "object") return;
    const atMost = (quantity, item) => Math.min(quantity ?? 1, item.pieces.remaining);
    if ("sale_id" in body && known.sale_id !== undefined) body.sale_id = known.sale_id;
    if ("quantity" in body && items.length > 0) body.quantity = atMost(body.quantity, items[0]);
    if (Array.isArray(body.items) && items.length > 0) {
      body.items = body.items.slice(0, items.length);
      body.items.forEach((line, index) => {
        line.id = items[index].id;
        if ("quantity" in line) line.quantity = atMost(line.quantity, items[index]);
      });
    }
  };

  const codesIn = (text) => [...text.matchAll(/\[`(\w+)`\]/g)].map(([, code]) => code);

  // Codes of errors that every operation has.
  let common = new Set();

  // Completes the document for this page.
  const prepare = (document) => {
    const resolve = (part) => {
      if (!part?.$ref?.startsWith("#/")) return part ?? {};
      return part.$ref.slice(2).split("/").reduce((at, name) => at?.[name], document) ?? {};
    };
    const operations = Object.values(document.paths)
      .flatMap((path) => Object.values(path))
      .filter((operation) => operation?.responses !== undefined);
    for (const operation of operations) {
      for (const parameter of (operation.parameters ?? []).map(resolve)) {
        const schema = resolve(parameter.schema);
        if (parameter.name === KEY) {
          // An example would be the value of the field, and the same one for everyone.
          for (const part of [parameter, schema]) {
            delete part.example;
            delete part.examples;
          }
        } else if (parameter.required && parameter.examples === undefined) {
          const example = known[parameter.name] ?? parameter.example ?? schema.example ?? schema.examples?.[0];
          if (example !== undefined) parameter.example = example;
        }
      }
      for (const media of Object.values(resolve(operation.requestBody).content ?? {})) {
        const schema = resolve(media.schema);
        const examples = Object.values(media.examples ?? {}).map((example) => resolve(example).value);
        [media.example, schema.example, ...examples, ...(schema.examples ?? [])].forEach(adapt);
      }
    }
    const codes = operations.map((operation) =>
      new Set(Object.values(operation.responses).flatMap((response) => codesIn(resolve(response).description ?? ""))));
    common = new Set([...(codes[0] ?? [])].filter((code) => codes.every((others) => others.has(code))));
    // Relative to this page and not to the host, for a gateway that serves it below a path.
    document.servers = [{ url: root.href.replace(/\/$/, "") }];
    return document;
  };

  // The fields of parameters that are on the page.
  const rows = new Set();
  // What the page has put into fields. Fields that a person has changed stay as they are.
  const filled = new Map();

  // Keeps values of a successful answer for later requests.
  const remember = (response) => {
    const { code, sale_id: sale } = response.ok ? response.body ?? {} : {};
    if (typeof code === "string" && typeof sale === "string") {
      Object.assign(known, { code, sale_id: sale });
      rows.forEach((row) => row.fill());
    }
    return response;
  };

  // A parameter's row, whose field has a value from the start.
  const parameterRow = (Original, { React }) =>
    class extends React.Component {
      componentDidMount() {
        rows.add(this);
        this.fill();
      }

      componentWillUnmount() {
        rows.delete(this);
      }

      get name() {
        return this.props.rawParam.get("name");
      }

      set(value) {
        filled.set([...this.props.pathMethod, this.name].join(" "), value);
        this.props.onChange(this.props.rawParam, value, false);
      }

      fill() {
        const { specSelectors, pathMethod, rawParam } = this.props;
        const value = specSelectors.parameterWithMetaByIdentity(pathMethod, rawParam)?.get("value");
        if (this.name === KEY) {
          if (value === undefined) this.set(newKey());
          return;
        }
        const own = [rawParam.get("example"), filled.get([...pathMethod, this.name].join(" "))];
        const isUntouched = value === undefined || own.includes(value);
        if (rawParam.get("required") && known[this.name] !== undefined && isUntouched) this.set(known[this.name]);
      }

      render() {
        const e = React.createElement;
        const row = e(Original, this.props);
        if (this.name !== KEY || !this.props.isExecute) return row;
        const button = e("button", { className: "btn new-key", onClick: () => this.set(newKey()) }, "New key");
        const hint = e("span", { className: "hint" }, "The same key repeats the request. A new request needs a new key.");
        return e(React.Fragment, null, row,
          e("tr", { className: "key-row" }, e("td"), e("td", { className: "parameters-col_description" }, button, hint)));
      }
    };

  // The errors of a response by their codes; `null` if its description has another form.
  const errorsOf = (status, response) => {
    const lines = (response.get("description") ?? "").split("\n").filter((line) => line.trim() !== "");
    const found = lines.map((line) => /^- \[`(\w+)`\]\([^)]*\)(?:: (.*))?$/.exec(line.trim()));
    if (lines.length === 0 || found.includes(null)) return null;
    return found.map(([, code, meaning]) => ({ status, code, meaning: meaning ?? "" }));
  };

  const isError = (status) => /^([45]|default)/.test(status);

  // The responses of an operation. Its errors have one table and one body.
  const responses = (Original, { React, getComponent }) => {
    const e = React.createElement;

    const ErrorTable = ({ errors }) => {
      const Markdown = getComponent("Markdown", true);
      const line = ({ status, code, meaning }) =>
        e("tr", { key: `${status} ${code}` },
          e("td", null, e("span", { className: status.startsWith("5") ? "status server" : "status" }, status)),
          e("td", null, code && e("a", { href: new URL(`problems/${code}`, root).href }, e("code", null, code))),
          e("td", null, e(Markdown, { source: meaning })));
      return e("table", { className: "errors" }, e("tbody", null, errors.map(line)));
    };

    const More = ({ title, children }) => {
      const [isOpen, setOpen] = React.useState(false);
      const onToggle = (event) => setOpen(event.currentTarget.open);
      // What is closed is not rendered.
      return e("details", { onToggle }, e("summary", null, title), isOpen && children);
    };

    return (props) => {
      const [successes, failures] = React.useMemo(() => {
        const all = props.responses;
        return [all.filterNot((_, status) => isError(status)), all.filter((_, status) => isError(status))];
      }, [props.responses]);
      if (failures.size === 0) return e(Original, props);

      const errors = failures.entrySeq().toArray().flatMap(([status, response]) =>
        errorsOf(status, response) ?? [{ status, code: null, meaning: response.get("description") ?? "" }]);
      const own = errors.filter(({ code }) => !common.has(code));
      const others = errors.filter(({ code }) => common.has(code));
      const Response = getComponent("response");
      const [status, first] = failures.entrySeq().first();
      const media = first.get("content")?.keySeq().first();
      const body = {
        ...props, code: status, response: first.set("description", "").delete("headers"), specPath: props.specPath.push(status),
        className: "", contentType: media, controlsAcceptHeader: false, isDefault: false, onContentTypeChange: () => {},
        activeExamplesKey: undefined,
      };
      return e(React.Fragment, null,
        e(Original, { ...props, responses: successes }),
        e("div", { className: "errors-once" },
          e("div", { className: "opblock-section-header" }, e("h4", null, "Errors")),
          e("div", { className: "errors-inner" },
            own.length > 0 && e(ErrorTable, { errors: own }),
            others.length > 0 && e(More, { title: `${own.length > 0 ? "And " : ""}${others.length} that every request can have` },
              e(ErrorTable, { errors: others })),
            media && e(More, { title: `The body of an error: ${media}` },
              e("table", { className: "responses-table error-body" }, e("tbody", null, e(Response, body)))))));
    };
  };

  // A link to the request that can follow.
  const operationLink = (Original, { React, specSelectors, layoutActions }) => (props) => {
    const id = props.link.get("operationId");
    const operation = specSelectors.operations().find((candidate) => candidate.getIn(["operation", "operationId"]) === id);
    if (operation === undefined) return React.createElement(Original, props);
    const tag = operation.getIn(["operation", "tags", 0], "default");
    const hash = `#/${encodeURIComponent(tag)}/${encodeURIComponent(id)}`;
    const onClick = (event) => {
      event.preventDefault();
      layoutActions.show(["operations", tag, id], true);
      layoutActions.scrollTo(["operations", tag, id]);
    };
    const label = operation.getIn(["operation", "summary"], id);
    return React.createElement("a", { className: "next-request", href: hash, onClick }, label);
  };

  const plugin = () => ({
    statePlugins: {
      spec: { wrapActions: { updateJsonSpec: (original) => (document) => original(prepare(document)) } },
    },
    wrapComponents: { parameterRow, responses, operationLink },
  });

  const darkMode = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", darkMode.matches);
  darkMode.addEventListener("change", follow);
  follow();

  const start = async () => {
    await discover();
    SwaggerUIBundle({
      url: new URL("openapi.json", root).href,
      dom_id: "#reference",
      deepLinking: true,
      docExpansion: "list",
      tryItOutEnabled: true,
      displayRequestDuration: true,
      showCommonExtensions: true,
      defaultModelsExpandDepth: 0,
      defaultModelExpandDepth: 2,
      // The validator would send the document's address to another server.
      validatorUrl: null,
      responseInterceptor: remember,
      plugins: [plugin],
    });
  };
  start();
})();
