// Hands a file to the reader.

export function download(name: string, content: Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name.replace(/[^\p{L}\p{N}._ -]+/gu, '_').slice(0, 100);
  link.click();
  // The browser has begun to read it by the time that the next turn comes.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
