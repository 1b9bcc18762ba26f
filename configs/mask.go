package configs

import "regexp"

// mask stands for a secret in output.
const mask = "xxxxx"

// Secrets are found in the text, not in a parsed URL: a URL that does not parse
// is shown in an error message, and a command line may hold a URL.
var (
	userPassword = regexp.MustCompile(`://([^\s:/@"']*):[^\s"']*@`)
	userOnly     = regexp.MustCompile(`://[^\s:/?#@"']+@`)
	querySecret  = regexp.MustCompile(`(?i)([?&;][^\s=&;"']*(?:token|passw|secret|auth)[^\s=&;"']*=)[^\s&;#"']*`)
)

// maskSecrets hides the passwords and tokens of the URLs in text: a password
// before the host, a user name that stands alone there, and a query parameter
// whose name says that it is a secret.
func maskSecrets(text string) string {
	text = userPassword.ReplaceAllString(text, "://${1}:"+mask+"@")
	text = userOnly.ReplaceAllString(text, "://"+mask+"@")
	return querySecret.ReplaceAllString(text, "${1}"+mask)
}

// Masked returns a copy of c that may be shown: secrets in URLs are replaced,
// those in the command lines of Exec too.
func (c Config) Masked() Config {
	masked := c
	for _, k := range keys {
		if p, ok := k.field(&masked).(*string); ok {
			*p = maskSecrets(*p)
		}
	}
	masked.Exec = nil
	for _, command := range c.Exec {
		command.Cmd = maskSecrets(command.Cmd)
		masked.Exec = append(masked.Exec, command)
	}
	return masked
}
