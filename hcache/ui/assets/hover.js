export default function ({data}) {
  const bytes = new Uint8Array(data instanceof Uint8Array ? data : new Uint8Array(data));
  const end = bytes.indexOf(10), about = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const url = URL.createObjectURL(new Blob([bytes.subarray(end + 1)], {type: 'image/jpeg'}));
  (window.hcacheSprites ??= {})[about.key] = {...about, url};
  return () => URL.revokeObjectURL(url);
}
