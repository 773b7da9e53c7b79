// A turntable for one mesh with base colour and tangent-space normal map. WebGL 2, nothing else.
(function (root) {
  "use strict";
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const canvas = root.querySelector("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
  const say = (text) => { root.querySelector(".message").textContent = text; };
  if (!gl) { say("This browser offers no WebGL 2; the pictures above show the same mesh."); return; }

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const positions = new Uint16Array(bytes(data.positions).buffer);
  const normals = new Int8Array(bytes(data.normals).buffer);
  const uvs = new Uint16Array(bytes(data.uvs).buffer);
  const triangles = new Uint32Array(bytes(data.triangles).buffer);

  const vertexSource = `#version 300 es
    in vec3 position; in vec4 normal; in vec2 uv;
    uniform vec3 low, span; uniform mat3 turn; uniform vec3 middle; uniform vec2 zoom;
    out vec3 seen, facing; out vec2 place;
    void main() {
      vec3 p = turn * (low + position * span - middle);
      seen = p; facing = turn * normal.xyz; place = uv;
      gl_Position = vec4(p.xy * zoom, -p.z / 1000.0, 1.0);
    }`;
  const fragmentSource = `#version 300 es
    precision highp float;
    in vec3 seen, facing; in vec2 place;
    uniform sampler2D colour, bumps; uniform bool textured, detailed; uniform vec3 light;
    out vec4 shown;
    void main() {
      vec3 n = normalize(facing);
      if (detailed) {  // the tangent frame from derivatives: T along u, B along v upwards
        vec3 px = dFdx(seen), py = dFdy(seen); vec2 ux = dFdx(place), uy = dFdy(place);
        float area = ux.x * uy.y - ux.y * uy.x;
        vec3 t = (px * uy.y - py * ux.y) * sign(area);
        t -= n * dot(n, t);
        vec3 up = -(py * ux.x - px * uy.x) * sign(area);
        if (dot(t, t) > 0.0) {
          t = normalize(t);
          vec3 b = cross(n, t); b *= dot(b, up) < 0.0 ? -1.0 : 1.0;
          vec3 m = texture(bumps, place).xyz * 2.0 - 1.0;
          n = normalize(t * m.x + b * m.y + n * m.z);
        }
      }
      vec3 base = textured ? pow(texture(colour, place).rgb, vec3(2.2)) : vec3(0.55);
      float key = max(dot(n, light), 0.0), front = max(n.z, 0.0);
      vec3 linear = base * (textured ? 0.55 + 0.75 * key : 0.08 + 0.95 * key + 0.18 * front);
      shown = vec4(pow(clamp(linear, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
    }`;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertexSource], [gl.FRAGMENT_SHADER, fragmentSource]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source); gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) { say(gl.getShaderInfoLog(shader)); return; }
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program); gl.useProgram(program);
  const attribute = (name, values, size, type, stride) => {
    const where = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, size, type, true, stride, 0);
  };
  attribute("position", positions, 3, gl.UNSIGNED_SHORT, 8);
  attribute("normal", normals, 4, gl.BYTE, 4);
  attribute("uv", uvs, 2, gl.UNSIGNED_SHORT, 4);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
  const uniform = (name) => gl.getUniformLocation(program, name);
  gl.uniform3fv(uniform("low"), data.low); gl.uniform3fv(uniform("span"), data.span);
  gl.uniform3fv(uniform("middle"), data.middle);

  let waiting = 2;
  ["colour", "bumps"].forEach((name, unit) => {
    const image = new Image();
    image.onload = () => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
      gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      gl.uniform1i(uniform(name), unit);
      waiting -= 1; draw();
    };
    image.src = data[name];
  });

  let yaw = 0.35, pitch = 0.1, size = 1.0, held = null;
  const box = (name) => root.querySelector(`input[name='${name}']`);
  function draw() {
    if (waiting) return;
    const wide = canvas.clientWidth * devicePixelRatio, high = canvas.clientHeight * devicePixelRatio;
    if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.13, 0.13, 0.13, 1); gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const c = Math.cos(yaw), s = Math.sin(yaw), d = Math.cos(pitch), e = Math.sin(pitch);
    // columns of Rx(pitch) Ry(yaw)
    gl.uniformMatrix3fv(uniform("turn"), false, [c, e * s, -d * s, 0, d, e, s, -e * c, d * c]);
    const scale = 2 * size / data.height_mm;
    gl.uniform2f(uniform("zoom"), scale * canvas.height / canvas.width, scale);
    const angle = (box("light").value - 50) / 50 * 1.5;
    gl.uniform3f(uniform("light"), Math.sin(angle) * 0.9, 0.42, Math.cos(angle) * 0.9);
    gl.uniform1i(uniform("textured"), box("textured").checked ? 1 : 0);
    gl.uniform1i(uniform("detailed"), box("detailed").checked ? 1 : 0);
    gl.drawElements(gl.TRIANGLES, triangles.length, gl.UNSIGNED_INT, 0);
    canvas.dataset.drawn = "yes";
  }
  canvas.addEventListener("pointerdown", (event) => {
    held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    yaw += (event.clientX - held[0]) * 0.008;
    pitch = Math.max(-1.4, Math.min(1.4, pitch + (event.clientY - held[1]) * 0.008));
    held = [event.clientX, event.clientY]; draw();
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    size = Math.max(0.4, Math.min(12, size * Math.exp(-event.deltaY * 0.0015))); draw();
  }, { passive: false });
  root.querySelectorAll("input").forEach((input) => input.addEventListener("input", draw));
  window.addEventListener("resize", draw);
})(document.currentScript.parentElement);
