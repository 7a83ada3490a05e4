# Sourced by scripts/containers.sh: puts the images that the files name onto the engine.
#
# Each is pulled. Only where that fails, Debian's programs stand in for it, under the same name: what they prove is that
# the files fit together, not that the versions in the names do. What is pulled or made is kept below the user's cache.
# shellcheck shell=bash
: "${folder?}"

# What the Dockerfile's images are made of.
readonly stable=bookworm
# Its nginx follows DNS in `upstream`, as from 1.27.3 on, and its Docker Compose and BuildKit run on the stable one too.
readonly newer=forky
# Of the recipes below: another number makes everything anew.
readonly recipe=1
readonly pull_seconds=15
cache=${XDG_CACHE_HOME:-$HOME/.cache}/flash-sale-containers
readonly cache plugins=$cache/plugins-$recipe
declare -A unreachable=()
stand_ins=()

# The mirror that this machine's apt uses. debootstrap knows another one, if there is none.
debian_mirror() {
  # shellcheck disable=SC2016 # apt's variables
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 !~ /-/ && $3 == "Debian" { print $1; exit }'
}

# A Debian with these packages, as $cache/NAME-$recipe.tar. Its mounts and processes are in namespaces of their own.
debian() { # NAME SUITE PACKAGES...
  local debian=$1 suite=$2 root=$folder/debian-$1
  shift 2
  [ ! -e "$cache/$debian-$recipe.tar" ] || return 0
  say "making a Debian $suite with $*"
  # shellcheck disable=SC2016 # the inner shell's variables
  go unshare --mount --pid --fork --kill-child --mount-proc bash -euc '
      suite=$1 root=$2 mirror=$3
      shift 3
      # A release that is newer than this debootstrap is made like the unstable one.
      script=/usr/share/debootstrap/scripts/$suite
      [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
      debootstrap --variant=minbase "$suite" "$root" ${mirror:+"$mirror" "$script"}
      printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"
      chmod 755 "$root/usr/sbin/policy-rc.d"
      cp -L /etc/resolv.conf "$root/etc/resolv.conf"
      [ -e "$root/proc/version" ] || mount -t proc proc "$root/proc"
      export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
      chroot "$root" apt-get install --yes --no-install-recommends "$@"
      chroot "$root" apt-get clean
      rm -rf "$root"/var/lib/apt/lists/* "$root"/var/lib/postgresql/* "$root"/usr/share/{doc,man,locale} "$root/etc/resolv.conf"
      # The folders that images have for the data of programs that are not root.
      install -d -m 1777 "$root/data" "$root/prometheus"
    ' bash "$suite" "$root" "$(debian_mirror)" "$@" >"$folder/debian-$debian.log" 2>&1 || {
    tail -n 30 "$folder/debian-$debian.log" >&2
    cannot "debootstrap cannot make a Debian $suite"
  }
  mkdir -p "$cache"
  [ "$debian" != "$stable" ] || go distroless "$root"
  if [ "$debian" = "$newer" ]; then
    rm -rf "$plugins"
    mv "$root/usr/libexec/docker/cli-plugins" "$plugins"
  fi
  go tar --create --file "$cache/.$debian.$$" --numeric-owner --one-file-system --directory "$root" .
  mv "$cache/.$debian.$$" "$cache/$debian-$recipe.tar"
  rm -rf "$root"
}

# What distroless' base-nossl has: the files of a few packages, and a user.
distroless() { # ROOT
  local tree=$1 package
  for package in base-files ca-certificates libc6 netbase tzdata; do
    cat "$tree/var/lib/dpkg/info/$package.list" "$tree/var/lib/dpkg/info/$package:"*.list 2>/dev/null || true
  done | sed -e 's|^/|./|' -e 's,^\./\(s\?bin\|lib\|lib64\)/,./usr/\1/,' -e '/^\.\/usr\/share\/\(doc\|man\|bug\|lintian\)\//d' -e '/^\.\/\.$/d' | sort -u >"$folder/distroless"
  echo ./etc/ssl/certs/ca-certificates.crt >>"$folder/distroless"
  mkdir "$folder/small"
  tar --create --no-recursion --directory "$tree" --files-from "$folder/distroless" | tar --extract --directory "$folder/small"
  install -d -m 1777 "$folder/small/tmp"
  install -d -o 65532 -g 65532 "$folder/small/home/nonroot"
  printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$folder/small/etc/passwd"
  printf '%s\n' root:x:0: nonroot:x:65532: >"$folder/small/etc/group"
  tar --create --file "$cache/.distroless.$$" --numeric-owner --directory "$folder/small" .
  mv "$cache/.distroless.$$" "$cache/distroless-$recipe.tar"
  rm -rf "$folder/small" "$folder/distroless"
}

debian_newer() { debian "$newer" "$newer" nginx wget docker-compose docker-buildx; }
debian_stable() { debian "$stable" "$stable" postgresql redis-server prometheus wget ca-certificates netbase tzdata; }

# An image of a Debian above, with another entry point: `docker commit` writes no file twice.
derive() { # IMAGE DEBIAN SIGNAL [--copy FILE PATH] [CHANGE...]
  local image=$1 base=flash-sale-stand-in:$2 tar=$cache/$2-$recipe.tar container change changes=()
  docker image inspect "$base" >/dev/null 2>&1 || quiet docker import "$tar" "$base"
  container=$(docker create --stop-signal "$3" "$base" true)
  shift 3
  if [ "${1:-}" = --copy ]; then
    quiet docker cp "$2" "$container:$3"
    shift 3
  fi
  for change in "$@"; do changes+=(--change "$change"); done
  quiet docker commit "${changes[@]}" "$container" "$image"
  quiet docker rm "$container"
}

# Fails for images that Debian has no programs for.
stand_in() { # IMAGE
  local path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  case $1 in
    postgres:*)
      debian_stable
      derive "$1" "$stable" INT --copy scripts/containers/postgres.sh /usr/local/bin/docker-entrypoint.sh \
        "ENV PATH=/usr/lib/postgresql/15/bin:$path" 'ENV LANG=C.UTF-8' 'VOLUME /var/lib/postgresql/data' \
        'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["postgres"]'
      ;;
    redis:*)
      debian_stable
      derive "$1" "$stable" TERM 'WORKDIR /data' 'VOLUME /data' 'CMD ["redis-server"]' \
        'ENTRYPOINT ["setpriv", "--reuid=redis", "--regid=redis", "--clear-groups", "--"]'
      ;;
    prom/prometheus:*)
      debian_stable
      derive "$1" "$stable" TERM 'USER nobody' 'VOLUME /prometheus' 'WORKDIR /prometheus' 'ENTRYPOINT ["prometheus"]'
      ;;
    nginx:*)
      debian_newer
      derive "$1" "$newer" QUIT 'CMD ["nginx", "-g", "daemon off;"]'
      ;;
    */distroless/base-nossl-*)
      debian_stable
      quiet docker import --change 'USER 65532' --change "ENV PATH=$path" --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
        --change 'WORKDIR /home/nonroot' "$cache/distroless-$recipe.tar" "$1"
      ;;
    rust:*)
      debian rust "$stable" gcc libc6-dev
      derive "$1" rust TERM "ENV PATH=/usr/local/rust/bin:$path" 'ENV CARGO_HOME=/usr/local/cargo'
      add "$1" "$(rustc --print sysroot)" rust
      ;;
    *) return 1 ;;
  esac
  stand_ins+=("$1")
}

# Compose and BuildKit, where this machine has none.
install_compose() {
  mkdir -p "$folder/client/cli-plugins"
  if docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; then return; fi
  debian_newer
  ln -s "$plugins"/docker-* "$folder/client/cli-plugins/"
}

# Adds a folder to an image, as /usr/local/NAME.
add() { # IMAGE FOLDER NAME
  local container
  container=$(docker create "$1" true)
  # shellcheck disable=SC2016 # the inner shell's variables
  quiet bash -euo pipefail -c 'tar --create --directory "$1" --exclude=./share --transform "s,^\.,$2," . | docker cp - "$3:/usr/local"' \
    bash "$2" "$3" "$container"
  quiet docker commit "$container" "$1"
  quiet docker rm "$container"
}

# On the machine's own network; the engine's leads nowhere.
pull() { # IMAGE
  local tar host=${1%%/*}
  tar=$cache/pulled-${1//[\/:]/_}.tar
  [[ $host == *.* ]] || host=default
  if [ ! -e "$tar" ]; then
    [ -z "${unreachable[$host]:-}" ] || return 1
    if ! timeout "$pull_seconds" skopeo inspect --raw "docker://$1" >/dev/null 2>&1; then
      unreachable[$host]=1
      return 1
    fi
    say "pulling $1"
    mkdir -p "$cache"
    go skopeo copy --quiet "docker://$1" "docker-archive:$cache/.pulled.$$:$1" || return 1
    mv "$cache/.pulled.$$" "$tar"
  fi
  quiet docker load --input "$tar"
}

# The crates of Cargo.lock, for a build in a container without a network.
add_crates() { # IMAGE
  local home=$folder/cargo
  mkdir -p "$home"
  quiet cargo vendor --quiet --locked --versioned-dirs "$home/vendor"
  printf '%s\n' '[source.crates-io]' 'replace-with = "vendor"' '[source.vendor]' 'directory = "/usr/local/cargo/vendor"' \
    '[net]' 'offline = true' >"$home/config.toml"
  add "$1" "$home" cargo
  rm -rf "$home"
}

# A program that is built already, as the image that the Dockerfile takes in place of its stage `build`.
import_program() { # PROGRAM IMAGE
  mkdir -p "$folder/program/image"
  strip --strip-debug -o "$folder/program/image/flash-sale" "$1"
  cp "$(gcc -print-file-name=libgcc_s.so.1)" "$folder/program/image/"
  tar --create --directory "$folder/program" image | docker import - "$2" >/dev/null
  rm -rf "$folder/program"
}
