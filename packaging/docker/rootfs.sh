#!/bin/sh
# Makes the root file system that the container image and the managed plugin share, out of what
# this machine has: its Node.js, the built source, packages of production, nft and iptables. No
# registry is asked, so that an image holds what was tested here.
#   npm run build && packaging/docker/rootfs.sh FOLDER
# FOLDER must not be there yet. Needs nftables, iptables and busybox (Debian: busybox-static),
# which gives the image a shell, ip and ping.
set -eu
folder=${1:?folder to make}
source=$(cd "$(dirname "$0")/../.." && pwd)
cd "$source"
[ -f dist/services/cli/main.js ] || { echo "$0: dist/ is missing: npm run build" >&2; exit 1; }
mkdir "$folder"
folder=$(cd "$folder" && pwd)

# A program, its libraries, and the loader that its header names, each at the path it has here.
program() {
  path=$(PATH="$PATH:/usr/sbin:/sbin" command -v "$1") ||
    { echo "$0: $1 is missing: install $2" >&2; exit 1; }
  mkdir -p "$folder/usr/bin"
  cp -L "$path" "$folder/usr/bin/$1"
  libraries "$path"
}
# Those of a program that is linked statically are none.
libraries() {
  ldd "$1" 2>/dev/null | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | while read -r library; do
    mkdir -p "$folder$(dirname "$library")"
    [ -e "$folder$library" ] || cp -L "$library" "$folder$library"
  done
}

# As on the distributions that node is built for, /lib is /usr/lib, and so on.
for name in bin sbin; do ln -s usr/bin "$folder/$name"; done
mkdir -p "$folder/usr/bin" "$folder/usr/lib" "$folder/usr/lib64"
for name in lib lib64; do ln -s "usr/$name" "$folder/$name"; done
ln -s bin "$folder/usr/sbin"
program node nodejs
program nft nftables
program iptables iptables
program ip6tables iptables
program busybox busybox-static
for name in sh env ip ping mount unshare nsenter readlink cat ls sleep; do
  ln -s busybox "$folder/usr/bin/$name"
done
# iptables loads its targets; those of rules that we write are in the first two.
for extension in $(find /usr/lib /usr/lib64 -path '*/xtables/libxt_standard.so' 2>/dev/null); do
  mkdir -p "$folder$(dirname "$extension")"
  cp -L "$extension" "$folder$extension"
done

for name in etc proc sys dev tmp run root var/lib/tapline; do mkdir -p "$folder/$name"; done
chmod 1777 "$folder/tmp"
ln -s ../run "$folder/var/run"
echo 'root:x:0:0:root:/root:/bin/sh' >"$folder/etc/passwd"
echo 'root:x:0:' >"$folder/etc/group"
for file in protocols services nsswitch.conf; do
  [ ! -f "/etc/$file" ] || cp -L "/etc/$file" "$folder/etc/$file"
done

app=$folder/opt/tapline
mkdir -p "$app/dist" "$app/node_modules"
cp package.json LICENSE "$app/"
cp -R dist/stack dist/services "$app/dist/"
# The first line is this package itself; nested packages come with the one that holds them, too.
packages=$(npm ls --omit=dev --all --parseable | sed 1d)
[ -n "$packages" ] || { echo "$0: node_modules/ is missing: npm ci" >&2; exit 1; }
for package in $packages; do
  to=$app/${package#"$source/"}
  [ -e "$to" ] || { mkdir -p "$(dirname "$to")" && cp -R "$package" "$to"; }
done
chmod +x "$app/dist/services/cli/main.js"
ln -s /opt/tapline/dist/services/cli/main.js "$folder/usr/bin/tapline"
