/** Who answers here. The version is that of the package: it is put in when the page is built. */
export const clientName = "everstream-browser"
export const clientVersion = VERSION
/** Workers are not for pages. */
export const features = []
export const commands = () => ({})
