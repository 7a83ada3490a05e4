#!/usr/bin/env bash
# nginx 1.22 and 1.30: with an error page in a named location, a broken request line and a target that is too long are answered
# with 500 in HTML, not with the error page.
#
# One would expect `error_page 400 414 = @error;` to cover whatever nginx refuses by itself, as it does for a head that is too long
# (494) or a missing Host (which has a path already). But of a request line that is broken or too long nginx knows no path, and it
# sends no request without one to a named location: it logs "empty URI in redirect to named location" and answers 500, whose page
# is its own. So two errors of clients count as errors of the server, and clients that expect JSON get HTML. An error page with a
# path, in a location that is `internal`, works for all of them.
#
# Source: ngx_http_named_location in src/http/ngx_http_core_module.c. Needs Debian's or Ubuntu's apt-get.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
stop() { kill "$(cat "$folder/pid")" 2>/dev/null; }
trap 'stop || true; rm -rf "$folder"' EXIT
cd "$folder"

# Without installing it, which would start it.
apt-get -qq -o APT::Sandbox::User=root download nginx >/dev/null
dpkg-deb --extract nginx_*.deb .

cat >conf <<CONF
pid $folder/pid;
error_log $folder/log;
events {}
http {
    access_log off;
    default_type application/json;
    client_body_temp_path $folder/1; proxy_temp_path $folder/2; fastcgi_temp_path $folder/3;
    uwsgi_temp_path $folder/4; scgi_temp_path $folder/5;
    large_client_header_buffers 4 1k;
    server {
        listen unix:$folder/named;
        error_page 400 414 494 = @error;
        location @error { return 400 '{"error":"yours"}'; }
    }
    server {
        listen unix:$folder/path;
        error_page 400 414 494 =400 /error;
        location = /error { internal; return 200 '{"error":"yours"}'; }
    }
}
CONF
usr/sbin/nginx -p "$folder" -c "$folder/conf" -e "$folder/log"
usr/sbin/nginx -v

# The status of the answer, and whether it is the error page.
ask() { # SOCKET BYTES
  python3 - "$folder/$1" "$2" <<'PYTHON'
import socket
import sys

client = socket.socket(socket.AF_UNIX)
client.settimeout(5)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
answer = b""
while part := client.recv(65536):
    answer += part
    if b"}" in answer or b"</html>" in answer:
        break
print(answer.split()[1].decode(), "json" if b'"yours"' in answer else "html")
PYTHON
}
long=$(printf '%3000s' '' | tr ' ' x)
for place in named path; do
  for request in 'nonsense\r\n\r\n' "GET /$long HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" \
    "GET / HTTP/1.1\\r\\nHost: a\\r\\nX-Long: $long\\r\\n\\r\\n" 'GET / HTTP/1.1\r\n\r\n'; do
    answer=$(ask "$place" "$request")
    echo "error page in a $place: ${request:0:20}… $answer"
    case $place:$request in named:nonsense* | named:GET\ /x*) expected='500 html' ;; *) expected='400 json' ;; esac
    [ "$answer" = "$expected" ] || {
      echo "this has changed" >&2
      exit 1
    }
  done
done
grep -o 'empty URI in redirect to named location' log
